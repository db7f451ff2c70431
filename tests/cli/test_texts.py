"""What a terminal shows of foreign text is what is in it, and nothing in it acts there."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.cli.texts import BYTES_SHOWN_MAX, json_problem, payload_text, reindent, safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcödé 漢字", "plain ünïcödé 漢字"),
        ("\x1b[2J\x1b[1;1H", r"\x1b[2J\x1b[1;1H"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("pay \u202e001 em", r"pay \u202e001 em"),
        ("ad\u200bmin", r"ad\u200bmin"),
        ("\ufeff\u2028\U000e0041", r"\ufeff\u2028\U000e0041"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_act_or_hide_is_written_out(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.text())
def test_nothing_that_is_shown_can_act_on_a_terminal(text: str) -> None:
    assert all(unicodedata.category(character)[0] != "C" for character in safe(text))


def test_a_payload_in_json_is_indented() -> None:
    assert payload_text("application/json", b'{"a":[1,{}],"b":"x"}') == (
        '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": "x"\n}'
    )


def test_a_number_is_shown_as_it_was_written() -> None:
    assert "1.00000000000000000001" in payload_text("a/b+json", b'{"n": 1.00000000000000000001}')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"admin": false, "admin": true}', "the key 'admin' stands there more than once"),
        (b'{"a": NaN}', "this is not JSON: NaN is no JSON number"),
        (b'{"a": ', "this is not JSON"),
        (b"[" * 50_000, "this is not JSON"),
    ],
)
def test_json_that_two_readers_could_disagree_about_is_shown_raw_with_a_warning(
    data: bytes, words: str
) -> None:
    shown = payload_text("application/json; charset=utf-8", data)
    assert shown.startswith(f"(careful: {words}")
    assert data[:50].decode() in shown


def test_bytes_are_shown_in_hex() -> None:
    assert payload_text("x/y", b"\x80A\n") == f"00000000  {'80 41 0a':<48} .A."


def test_a_long_payload_is_cut_and_says_so() -> None:
    shown = payload_text("text/plain", b"x" * (BYTES_SHOWN_MAX + 5))
    assert shown.endswith("\n... and 5 more bytes")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_indenting_changes_only_the_space_between_lexemes(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json_problem(text) is None
    assert json.loads(reindent(text)) == value
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert reindent(compact) == reindent(text)

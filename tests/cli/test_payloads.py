"""What an approver sees of a payload says all that its bytes say, or says that it does not."""

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from governance.v1 import mutation_pb2
from governor.cli.exits import ExitCode
from governor.cli.texts import payload_text
from tests.support.front_desk import FrontDesk, a_request

FORM = "application/x-www-form-urlencoded"
STATE = mutation_pb2.StateRef(type="flag", id="checkout")


def descriptors(folder: Path) -> str:
    """A file with the descriptors of the contract's own mutation.proto, and what that imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for file in (*mutation_pb2.DESCRIPTOR.dependencies, mutation_pb2.DESCRIPTOR):
        file.CopyToProto(files.file.add())
    path = folder / "descriptors.pb"
    path.write_bytes(files.SerializeToString())
    return str(path)


def shown(folder: Path, data: bytes, *, content_type: str = "application/protobuf") -> str:
    """What approve shows of a payload, read as a StateRef."""
    payload = mutation_pb2.Payload(content_type=content_type, data=data)
    desk = FrontDesk(folder, a_request(payload=payload))
    options = ("--descriptors", descriptors(folder), "--message", "governance.v1.StateRef")
    result = desk.run("approve", "mr-1", "--yes", *options)
    assert result.exit_code == ExitCode.OK, result.output
    return result.stdout


def test_a_form_is_shown_field_by_field_in_its_order() -> None:
    text = payload_text(FORM, b"percent=25&name=dark+mode&percent=50&empty=")
    assert text == "percent = 25\nname = dark mode\npercent = 50\nempty = "


def test_what_a_form_hides_in_escapes_cannot_act_on_the_terminal() -> None:
    assert payload_text(FORM, b"a=%1b[2K%0ab") == r"a = \x1b[2K\nb"


def test_a_form_that_is_none_is_shown_as_it_is() -> None:
    text = payload_text(FORM, b"just words")
    assert text.startswith("(careful: this is not a form")
    assert text.endswith("\njust words")


def test_json_by_its_suffix_is_shown_as_json() -> None:
    assert payload_text("application/merge-patch+json", b'{"a":1}') == '{\n  "a": 1\n}'


def test_protobuf_is_decoded_by_the_descriptors_that_were_brought_along(tmp_path: Path) -> None:
    text = shown(tmp_path, STATE.SerializeToString())
    assert "governance.v1.StateRef" in text
    assert '"type": "flag"' in text
    assert '"id": "checkout"' in text
    assert "careful" not in text


@pytest.mark.parametrize(
    "hidden",
    [b"\x7a\x03abc", mutation_pb2.StateRef(type="role").SerializeToString()],
    ids=["a field that the descriptors lack", "a field that stands there twice"],
)
def test_protobuf_that_says_more_than_is_shown_is_not_passed_over(
    tmp_path: Path, hidden: bytes
) -> None:
    assert "bytes say more than this" in shown(tmp_path, hidden + STATE.SerializeToString())


def test_protobuf_that_is_another_message_is_shown_in_hex(tmp_path: Path) -> None:
    text = shown(tmp_path, b"\xff\xff\xff")
    assert "careful: this is no governance.v1.StateRef" in text
    assert "ff ff ff" in text


def test_descriptors_change_nothing_for_other_payloads(tmp_path: Path) -> None:
    assert '"a": 1' in shown(tmp_path, b'{"a":1}', content_type="application/json")


@pytest.mark.parametrize(
    "options",
    [
        ("--message", "governance.v1.StateRef"),
        ("--descriptors", "{good}"),
        ("--descriptors", "{good}", "--message", "governance.v1.Nothing"),
        ("--descriptors", "{bad}", "--message", "governance.v1.StateRef"),
        ("--descriptors", "{none}", "--message", "governance.v1.StateRef"),
    ],
)
def test_descriptors_that_cannot_be_used_are_a_slip_and_nobody_votes(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    bad = tmp_path / "bad.pb"
    bad.write_bytes(b"\xff\xff")
    paths = {"good": descriptors(tmp_path), "bad": str(bad), "none": str(tmp_path / "none.pb")}
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("approve", "mr-1", "--yes", *(o.format(**paths) for o in options))
    assert result.exit_code == ExitCode.USAGE, result.output
    assert desk.asked == {}

"""Text from elsewhere, made safe to look at: nothing in it can move, hide or restyle what is shown.

An approver decides by what the terminal shows. Control characters could erase a line of it, and
directional or invisible ones could make it read differently from the bytes that will run.
"""

import json
import unicodedata
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

BYTES_SHOWN_MAX = 64 * 1024
HEX_BYTES_PER_LINE = 16
FORM = "application/x-www-form-urlencoded"

_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JSON_INDENT = "  "


def safe(text: str, *, lines: bool = False) -> str:
    """`text` with everything that does not show as itself written as an escape.

    With `lines`, line feeds and tabs stay what they are.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _UNSHOWABLE
        else _escape(character)
        for character in text
    )


def payload_text(content_type: str, data: bytes) -> str:
    """The payload for a person: JSON indented, forms by field, text as text, the rest in hex.

    JSON keeps every token as it was written, so that neither a duplicate key nor a long number is
    tidied away; a form keeps every field, in its order.
    """
    shown, rest = data[:BYTES_SHOWN_MAX], len(data) - BYTES_SHOWN_MAX
    more = f"\n... and {rest} more bytes" if rest > 0 else ""
    try:
        text = data.decode() if rest <= 0 else shown.decode(errors="ignore")
    except UnicodeDecodeError:
        return _hex_dump(shown) + more
    media_type = content_type.partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if rest <= 0 and is_json:
        problem = json_problem(text)
        if problem is None:
            return safe(reindent(text), lines=True)
        return f"(careful: {problem})\n{safe(text, lines=True)}"
    if rest <= 0 and media_type == FORM:
        return _form_text(text)
    return safe(text, lines=True) + more


def _form_text(text: str) -> str:
    """One `name = value` a line."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        return f"(careful: this is not a form: {error})\n{safe(text, lines=True)}"
    return "\n".join(safe(f"{name} = {value}") for name, value in pairs)


def json_problem(text: str) -> str | None:
    """Why two readers of this JSON could disagree about it; None when they could not."""
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=collect, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return f"this is not JSON: {error}"
    return f"the key {safe(repeated[0])!r} stands there more than once" if repeated else None


def reindent(text: str) -> str:
    """Valid JSON with line breaks and indents of our own between its tokens, all else untouched."""
    parts: list[str] = []
    depth = 0
    for previous, lexeme in pairwise(["", *_json_lexemes(text)]):
        if lexeme in ("}", "]"):
            depth -= 1
        opened, closes = previous in ("{", "["), lexeme in ("}", "]")
        if previous == "," or opened is not closes:
            parts.append("\n" + _JSON_INDENT * depth)
        parts.append(": " if lexeme == ":" else lexeme)
        if lexeme in ("{", "["):
            depth += 1
    return "".join(parts)


def _json_lexemes(text: str) -> list[str]:
    lexemes: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        end = position + 1
        if character == '"':
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
        elif character not in "{}[],: \t\r\n":
            while end < len(text) and text[end] not in "{}[],: \t\r\n":
                end += 1
        if not character.isspace():
            lexemes.append(text[position:end])
        position = end
    return lexemes


def _hex_dump(data: bytes) -> str:
    lines = []
    for start in range(0, len(data), HEX_BYTES_PER_LINE):
        chunk = data[start : start + HEX_BYTES_PER_LINE]
        ascii_form = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
        lines.append(f"{start:08x}  {chunk.hex(' '):<{HEX_BYTES_PER_LINE * 3}} {ascii_form}")
    return "\n".join(lines)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")

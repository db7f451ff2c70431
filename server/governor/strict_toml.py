"""Reads a TOML file into a strict model, or says which file, which key and which fact is wrong."""

import logging
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

FILE_BYTES_MAX = 4 * 1024 * 1024

_PROBLEMS_SHOWN_MAX = 20

_log = logging.getLogger(__name__)


class FileRefused(Exception):
    """A file that a person wrote cannot be used. Each problem is one line: `key: fact`."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        shown = self.problems[:_PROBLEMS_SHOWN_MAX]
        more = len(self.problems) - len(shown)
        lines = [f"{path}: {problem}" for problem in shown]
        super().__init__("\n".join([*lines, f"{path}: and {more} more"] if more else lines))


class StrictModel(BaseModel):
    """Nothing is guessed: no unknown key, no number out of a string, no change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Model = TypeVar("_Model", bound=StrictModel)
_Loaded = TypeVar("_Loaded")


def read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    """The file's tables, and the SHA-256 of its bytes. Raises FileRefused."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FileRefused(path, [f"cannot be read: {error.strerror}"]) from error
    if len(data) > FILE_BYTES_MAX:
        raise FileRefused(path, [f"is larger than {FILE_BYTES_MAX} bytes"])
    try:
        return tomllib.loads(data.decode()), sha256(data).digest()
    except UnicodeDecodeError as error:
        raise FileRefused(path, [f"is not UTF-8 at byte {error.start}"]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileRefused(path, [f"is not TOML: {error}"]) from error


def read_model(path: Path, model: type[_Model]) -> tuple[_Model, bytes]:
    """The file as a `model`, and the SHA-256 of its bytes. Raises FileRefused."""
    tables, digest = read_toml(path)
    try:
        return model.model_validate(tables), digest
    except ValidationError as error:
        problems = [problem(details, tables) for details in error.errors()]
        raise FileRefused(path, problems) from error


class ReloadedFile(Generic[_Loaded]):
    """What a file said when it was last read well. Nothing is half taken over."""

    def __init__(
        self, path: Path | None, load: Callable[[Path], _Loaded], *, absent: _Loaded
    ) -> None:
        self._path = path
        self._load = load
        self.current = load(path) if path else absent

    def reload(self) -> bool:
        """Takes the file as it is now, and says whether; one with a fault changes nothing."""
        if self._path is None:
            return False
        try:
            self.current = self._load(self._path)
        except FileRefused as refusal:
            _log.error("the file stays as it was read before: %s", refusal)
            return False
        return True


def problem(details: ErrorDetails, tables: Mapping[str, Any]) -> str:
    """One line out of what pydantic found: the key's path, and the fact."""
    path = _path(details["loc"], tables)
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: there is no such key"
        case "missing":
            return f"{path}: is required"
        case "value_error":
            return f"{path}: {_fact(details)}" if path else _fact(details)
        case "too_short" | "too_long" | "string_too_short" | "string_too_long":
            return f"{path}: {_fact(details)}"
        case _:
            return f"{path}: {_fact(details)}, not {_shown(details['input'])}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing when no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _path(location: Sequence[int | str], tables: Mapping[str, Any]) -> str:
    """`rule[2] ('freeze').step[0].mode`: elements go by place, and by name if they have one."""
    text = ""
    node: Any = tables
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            node = node[part] if isinstance(node, list) and part < len(node) else None
            name = (node.get("id") or node.get("name")) if isinstance(node, dict) else None
            text += f" ({name!r})" if isinstance(name, str) else ""
        else:
            text += f".{part}" if text else part
            node = node.get(part) if isinstance(node, dict) else None
    return text


def _fact(details: ErrorDetails) -> str:
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

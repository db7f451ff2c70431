"""Writes settings down: the reference page, and the effective configuration as TOML."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo

from governor.config.loading import Effective, variable_of
from governor.config.sections import SECTIONS, Section

HIDDEN = "***"

_HEADER = """\
# Configuration

<!-- Made by `make generate` out of server/governor/config/sections.py; do not edit. -->

Every setting can stand in a TOML file (`governor serve --config governor.toml`), in the environment
variable beside it, or in a flag (`--set name=value`, and flags of their own for the common ones). A
flag beats the environment, the environment beats the file, the file beats the default. A name that
is not listed here is refused, wherever it stands. `governor config` prints what is in effect and
where each value came from. Tracing and metrics follow the standard `OTEL_*` variables.
"""


def reference_page() -> str:
    """docs/configuration.md."""
    return "\n".join([_HEADER, *(line for section in SECTIONS for line in _section(section))])


def effective_toml(effective: Effective) -> str:
    """The settings as a file that could be read back, but for hidden passwords."""
    lines = []
    for section in SECTIONS:
        lines.append(f"\n# {_title(section)}")
        for name in section.model_fields:
            value = shown(name, getattr(effective.settings, name))
            origin = effective.origins[name]
            if value is None:
                lines.append(f"# {name} is not set")
            else:
                lines.append(f"{name} = {json.dumps(value)}  # {origin}")
    return "\n".join(lines).lstrip() + "\n"


def shown(name: str, value: Any) -> str | int | float | bool | None:
    """A value as it may be printed and logged."""
    if isinstance(value, Path):
        return str(value)
    if name == "store_url":
        return without_password(value)
    plain: str | int | float | bool | None = value
    return plain


def without_password(url: str) -> str:
    """The URL with its password, and whatever its query hides, replaced."""
    password = urlsplit(url).password
    bare = url.replace(f":{password}@", f":{HIDDEN}@", 1) if password else url
    return re.sub(r"([?&][^=&]*password[^=&]*=)[^&]*", rf"\g<1>{HIDDEN}", bare)


def _section(section: type[Section]) -> Iterator[str]:
    yield f"## {section.__name__}\n"
    yield f"{_title(section)}\n"
    yield "| setting | default | bounds | meaning |"
    yield "|---|---|---|---|"
    for name, field in section.model_fields.items():
        meaning = f"{field.description} Variable: `{variable_of(name)}`."
        yield f"| `{name}` | {_default(field)} | {_bounds(field)} | {meaning} |"
    yield ""


def _title(section: type[Section]) -> str:
    return (section.__doc__ or "").strip()


def _default(field: FieldInfo) -> str:
    return "not set" if field.default is None else f"`{json.dumps(field.default)}`"


def _bounds(field: FieldInfo) -> str:
    options = getattr(field.annotation, "__args__", ())
    if options and all(isinstance(option, str) for option in options):
        return ", ".join(f"`{option}`" for option in options)
    bounds = {
        sign: getattr(constraint, attribute)
        for constraint in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("le", "≤"), ("lt", "<"))
        if getattr(constraint, attribute, None) is not None
    }
    return ", ".join(f"{sign} {bound:,}" for sign, bound in bounds.items())

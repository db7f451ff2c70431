"""Gathers the settings: a flag beats the environment, that beats the file, that the default."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import InitSettingsSource

from governor.config.sections import ENVIRONMENT_PREFIX
from governor.config.settings import Settings
from governor.strict_toml import did_you_mean, problem, read_toml

OTHER_VARIABLES = frozenset(
    {
        "GOVERNOR_CONFIG",
        "GOVERNOR_FAILPOINTS",
        "GOVERNOR_ALLOW_FAILPOINTS",
        "GOVERNOR_ADDRESS",
        "GOVERNOR_ACTOR",
        "GOVERNOR_TENANT",
        "GOVERNOR_TLS_CA",
        "GOVERNOR_TLS_CERTIFICATE",
        "GOVERNOR_TLS_KEY",
    }
)
"""Variables with the prefix that are not settings of the server: the client's, and the tests'."""


class Origin(StrEnum):
    """Where a value was set."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class ConfigRefused(Exception):
    """Settings that cannot be used; each problem is one line that names the setting and where."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The settings, and where each was set."""

    settings: Settings
    origins: Mapping[str, Origin]


def load(
    *, file: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str]
) -> Effective:
    """Raises ConfigRefused, and FileRefused for a file that is not TOML."""
    in_file = read_toml(file)[0] if file else {}
    unknown = [*_unknown(in_file, str(file)), *_unknown(flags, "flags")]
    unknown += _unknown_variables(environment)
    if unknown:
        raise ConfigRefused(unknown)
    in_environment = {
        name: environment[variable_of(name)]
        for name in Settings.model_fields
        if environment.get(variable_of(name))
    }
    layers = {Origin.FLAG: flags, Origin.ENVIRONMENT: in_environment, Origin.FILE: in_file}
    origins = {
        name: next((origin for origin, layer in layers.items() if name in layer), Origin.DEFAULT)
        for name in Settings.model_fields
    }
    sources = tuple(InitSettingsSource(Settings, dict(layer)) for layer in layers.values())
    try:
        settings = Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        raise ConfigRefused([_problem(item, origins, file) for item in error.errors()]) from error
    return Effective(settings=settings, origins=origins)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def _unknown(values: Mapping[str, Any], where: str) -> list[str]:
    return [
        f"{where}: there is no setting {name!r}{did_you_mean(name, Settings.model_fields)}"
        for name in values
        if name not in Settings.model_fields
    ]


def _unknown_variables(environment: Mapping[str, str]) -> list[str]:
    known = {variable_of(name) for name in Settings.model_fields} | OTHER_VARIABLES
    return [
        f"environment: there is no setting {name}{did_you_mean(name, known)}"
        for name in environment
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


def _problem(item: ErrorDetails, origins: Mapping[str, Origin], file: Path | None) -> str:
    name = str(item["loc"][0]) if item["loc"] else ""
    line = problem(item, {})
    match origins.get(name):
        case Origin.FILE:
            return f"{file}: {line}"
        case Origin.ENVIRONMENT:
            return f"environment {variable_of(name)}: {line}"
        case _:
            return line

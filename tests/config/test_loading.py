"""Settings: who beats whom, what is refused by name, and what must hold between them."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from governor.config.loading import (
    OTHER_VARIABLES,
    ConfigRefused,
    Effective,
    Origin,
    load,
    variable_of,
)
from governor.config.reference import HIDDEN, effective_toml, reference_page, without_password
from governor.config.sections import SECTIONS
from governor.config.settings import Settings
from governor.storage.store import StoreLimits
from governor.strict_toml import FileRefused
from governor.usecases.app import Limits
from governor.wire.limits import WireLimits


def loaded(
    file: Path | None = None,
    flags: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Effective:
    return load(file=file, flags=flags or {}, environment=environment or {})


def problems(**sources: Any) -> str:
    with pytest.raises(ConfigRefused) as refused:
        loaded(**sources)
    return str(refused.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "governor.toml"


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    file: Path,
) -> None:
    file.write_text("lease_seconds = 11\nwait_seconds_max = 12\nwaiters_max = 13\n")
    environment = {"GOVERNOR_WAIT_SECONDS_MAX": "22", "GOVERNOR_WAITERS_MAX": "23"}
    effective = loaded(file, {"waiters_max": "33"}, environment)
    settings, origins = effective.settings, effective.origins
    assert (settings.lease_seconds, origins["lease_seconds"]) == (11.0, Origin.FILE)
    assert (settings.wait_seconds_max, origins["wait_seconds_max"]) == (22.0, Origin.ENVIRONMENT)
    assert (settings.waiters_max, origins["waiters_max"]) == (33, Origin.FLAG)
    assert (settings.timer_page, origins["timer_page"]) == (Limits().timer_page, Origin.DEFAULT)


def test_an_empty_variable_says_nothing() -> None:
    assert loaded(environment={"GOVERNOR_POLICY_FILE": ""}).settings.policy_file is None


def test_an_unknown_name_is_refused_wherever_it_stands(file: Path) -> None:
    file.write_text("lease_second = 11\n")
    assert f"{file}: there is no setting 'lease_second'; did you mean lease_seconds?" == problems(
        file=file
    )
    assert "flags: there is no setting 'colour'" in problems(flags={"colour": "red"})
    assert "environment: there is no setting GOVERNOR_LISTENER" in problems(
        environment={"GOVERNOR_LISTENER": "x"}
    )


def test_the_variables_of_the_client_and_of_others_are_let_be() -> None:
    others = dict.fromkeys(OTHER_VARIABLES, "x") | {"PATH": "/bin", "OTEL_SERVICE_NAME": "x"}
    assert loaded(environment=others).settings == loaded().settings


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("0", "should be greater than 0"),
        ("-1", "should be greater than 0"),
        ("nan", "should be a finite number"),
        ("inf", "should be a finite number"),
        ("soon", "should be a valid number"),
        ("99999999999", "should be less than or equal to"),
    ],
)
def test_a_bad_length_of_time_is_refused_with_the_variable_and_the_fact(
    value: str, fact: str
) -> None:
    found = problems(environment={"GOVERNOR_LEASE_SECONDS": value})
    assert found.startswith("environment GOVERNOR_LEASE_SECONDS: lease_seconds: ")
    assert fact in found


@pytest.mark.parametrize("text", ["", "nowhere", ":1", "host:", "host:65536", "::1:5", "unix:"])
def test_an_address_that_names_no_place_is_refused(text: str) -> None:
    assert "listen" in problems(flags={"listen": text})


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "governor.example:1"])
def test_beyond_this_machine_tls_and_a_proven_identity_are_demanded(listen: str) -> None:
    assert f"{listen} can be reached from other machines and needs TLS" in problems(
        flags={"listen": listen}
    )
    with_tls = {"listen": listen, "tls_certificate_file": "c.pem", "tls_key_file": "k.pem"}
    assert problems(flags=with_tls).startswith("identity: development believes whatever name")
    proven = with_tls | {"identity": "mtls", "tls_client_ca_file": "ca.pem"}
    assert loaded(flags=proven).settings.listen == listen


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/s"]
)
def test_on_this_machine_a_development_identity_will_do(listen: str) -> None:
    assert loaded(flags={"listen": listen}).settings.identity == "development"


@pytest.mark.parametrize(
    ("flags", "fact"),
    [
        ({"identity": "mtls"}, "tls_client_ca_file: is required by identity mtls"),
        ({"tls_key_file": "k"}, "tls_certificate_file: goes with tls_key_file"),
        ({"tls_client_ca_file": "c"}, "tls_client_ca_file: needs tls_certificate_file"),
        ({"host_address": "10.1.1.1:5"}, "host_address: 10.1.1.1:5 is not on this machine"),
        ({"apply_seconds_max": 31}, "apply_seconds_max: must not exceed lease_seconds"),
        ({"request_lifetime_seconds_max": 9}, "request_lifetime_seconds: must not exceed"),
        ({"backoff_seconds_max": 0.01}, "backoff_seconds_initial: must not exceed"),
        ({"payload_bytes_max": 3_000_000}, "payload_bytes_max: must not exceed"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, Any], fact: str) -> None:
    assert problems(flags=flags).startswith(fact)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(FileRefused, match="No such file"):
        loaded(file)
    file.write_text("listen = 'a\n")
    with pytest.raises(FileRefused, match="is not TOML"):
        loaded(file)


@pytest.mark.parametrize(
    "limits", [Limits(), StoreLimits(), WireLimits()], ids=lambda x: type(x).__name__
)
def test_every_bound_of_the_house_is_a_setting_with_the_same_default(limits: Any) -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    bounds = {field.name: getattr(limits, field.name) for field in fields(limits)}
    assert {name: defaults.get(name) for name in bounds} == bounds


def test_every_setting_stands_in_one_section_and_says_what_it_means() -> None:
    names = [name for section in SECTIONS for name in section.model_fields]
    assert sorted(names) == sorted(Settings.model_fields)
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert all(variable_of(name) in reference_page() for name in names)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///governor.db", "sqlite:///governor.db"),
        ("postgresql://ann:hush@host/db", f"postgresql://ann:{HIDDEN}@host/db"),
        ("postgresql://ann:h@sh@host/db", f"postgresql://ann:{HIDDEN}@host/db"),
        ("postgresql://host/db?password=hush&a=b", f"postgresql://host/db?password={HIDDEN}&a=b"),
        ("postgresql://host/db?sslpassword=hush", f"postgresql://host/db?sslpassword={HIDDEN}"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_the_effective_settings_can_be_read_back(file: Path) -> None:
    first = loaded(flags={"listen": "unix:/tmp/x", "reflection": "true", "lease_seconds": "12.5"})
    file.write_text(effective_toml(first))
    assert loaded(file).settings == first.settings

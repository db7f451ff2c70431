"""The standard variables decide what is on; with none of them everything is off."""

import os

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from governor.telemetry.executions import NoTracing
from governor.telemetry.providers import OFF, UnknownExporter, from_environment
from tests.telemetry.recorded import recorded


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def on(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[bool, bool]:
    """Whether traces and metrics are on under these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    telemetry = from_environment()
    telemetry.shutdown()
    return telemetry.tracer is not None, telemetry.instruments is not None


def test_without_variables_everything_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on(monkeypatch) == (False, False)
    assert not OFF.is_on
    assert isinstance(OFF.tracing, NoTracing)


ENDPOINT = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}, (True, False)),
        (
            {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT},
            (False, False),
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ({"OTEL_TRACES_EXPORTER": "console"}, (True, False)),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, (False, False)),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, (False, False)),
    ],
)
def test_each_signal_is_on_where_it_has_a_way_out(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[bool, bool]
) -> None:
    assert on(monkeypatch, **variables) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_METRICS_EXPORTER": "prometheus"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_what_is_not_installed_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Silence would be found out on the day the traces are needed."""
    with pytest.raises(UnknownExporter) as caught:
        on(monkeypatch, **variables)
    assert list(variables.values())[-1] in str(caught.value)


def service_name() -> object:
    told = recorded()
    tracer = told.telemetry.tracer
    assert tracer is not None
    tracer.start_span("any").end()
    return told.spans[0].resource.attributes["service.name"]


def test_the_service_is_called_governor_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert service_name() == "governor"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes")
    assert service_name() == "from-attributes"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-name")
    assert service_name() == "from-name"


def test_the_sampler_is_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    told = recorded()
    tracer = told.telemetry.tracer
    assert tracer is not None
    tracer.start_span("any").end()
    assert told.spans == []


def test_no_provider_is_made_global() -> None:
    recorded()
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)

"""Turns the standard OTEL_* variables into a tracer and a meter, or into nothing.

Providers are held here and handed on, never made global: a library that finds no provider stays
silent, and a test has as many as it likes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_METRICS_EXPORTER, OTEL_TRACES_EXPORTER
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.semconv.attributes.service_attributes import SERVICE_NAME, SERVICE_VERSION
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, Tracer

from governor import __version__
from governor.telemetry.calls import Call
from governor.telemetry.executions import ExecutionSpans, NoTracing
from governor.telemetry.instruments import Instruments
from governor.usecases.ports import Tracing

SCOPE: Final = "governor"
OTLP: Final = "otlp"
OTLP_PROTOCOL: Final = "grpc"
NONE: Final = "none"
Exporter = TypeVar("Exporter")
UNNAMED_SERVICE: Final = "unknown_service"

SPAN_EXPORTERS: Final[Mapping[str, Callable[[], SpanExporter]]] = {
    OTLP: OTLPSpanExporter,
    "console": ConsoleSpanExporter,
}
METRIC_EXPORTERS: Final[Mapping[str, Callable[[], MetricExporter]]] = {
    OTLP: OTLPMetricExporter,
    "console": ConsoleMetricExporter,
}


class UnknownExporter(ValueError):
    """An OTEL_* variable names what is not installed here."""

    def __init__(self, variable: str, value: str, known: Sequence[str]) -> None:
        super().__init__(f"{variable} is {value!r}; known here: {', '.join(known)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What the rest of the sidecar is given. Without tracer and instruments everything is off."""

    tracer: Tracer | None = None
    instruments: Instruments | None = None
    tracing: Tracing = field(default_factory=NoTracing)
    shutdown: Callable[[], None] = lambda: None

    @property
    def is_on(self) -> bool:
        """Whether calls are observed at all."""
        return self.tracer is not None or self.instruments is not None

    def server_call(self, method: str, parent: Context) -> Call:
        """Begins to observe a call that came in."""
        duration = self.instruments.server_call if self.instruments else None
        return Call(method, SpanKind.SERVER, tracer=self.tracer, duration=duration, parent=parent)

    def client_call(self, method: str, parent: Context | None) -> Call:
        """Begins to observe a call that goes out; without `parent` inside the current span."""
        duration = self.instruments.client_call if self.instruments else None
        return Call(method, SpanKind.CLIENT, tracer=self.tracer, duration=duration, parent=parent)


OFF: Final = Telemetry()


def from_environment() -> Telemetry:
    """As the OTEL_* variables say. Raises UnknownExporter."""
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return OFF
    spans = _exporters(
        OTEL_TRACES_EXPORTER,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
        SPAN_EXPORTERS,
    )
    metrics = _exporters(
        OTEL_METRICS_EXPORTER,
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
        METRIC_EXPORTERS,
    )
    return telemetry(
        span_processors=[BatchSpanProcessor(make()) for make in spans],
        metric_readers=[PeriodicExportingMetricReader(make()) for make in metrics],
    )


def telemetry(
    *, span_processors: Sequence[SpanProcessor] = (), metric_readers: Sequence[MetricReader] = ()
) -> Telemetry:
    """With these ways out; a signal without any is off. The sampler is OTEL_TRACES_SAMPLER's."""
    tracers: TracerProvider | None = None
    meters: MeterProvider | None = None
    if span_processors:
        tracers = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        for processor in span_processors:
            tracers.add_span_processor(processor)
    if metric_readers:
        meters = MeterProvider(metric_readers, resource=_resource(), shutdown_on_exit=False)

    def shutdown() -> None:
        if tracers is not None:
            tracers.shutdown()
        if meters is not None:
            meters.shutdown()

    schema = Schemas.V1_44_0.value
    tracer = tracers.get_tracer(SCOPE, __version__, schema_url=schema) if tracers else None
    meter = meters.get_meter(SCOPE, __version__, schema_url=schema) if meters else None
    return Telemetry(
        tracer=tracer,
        instruments=Instruments(meter) if meter else None,
        tracing=ExecutionSpans(tracer) if tracer else NoTracing(),
        shutdown=shutdown,
    )


def _exporters(
    chosen_by: str, endpoint: str, protocol: str, known: Mapping[str, Callable[[], Exporter]]
) -> list[Callable[[], Exporter]]:
    """The exporters of one signal: those named, else OTLP where an endpoint is."""
    named = os.environ.get(chosen_by, "").strip()
    if not named:
        reachable = os.environ.get(endpoint) or os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT)
        named = OTLP if reachable else NONE
    makers = []
    for name in (part.strip() for part in named.split(",")):
        if name == NONE:
            continue
        if name not in known:
            raise UnknownExporter(chosen_by, name, (*known, NONE))
        if name == OTLP:
            _require_grpc(protocol)
        makers.append(known[name])
    return makers


def _require_grpc(protocol: str) -> None:
    for variable in (protocol, OTEL_EXPORTER_OTLP_PROTOCOL):
        if value := os.environ.get(variable):
            if value != OTLP_PROTOCOL:
                raise UnknownExporter(variable, value, (OTLP_PROTOCOL,))
            return


def _resource() -> Resource:
    """Named by OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, else governor."""
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith(UNNAMED_SERVICE):
        return resource.merge(Resource({SERVICE_NAME: SCOPE}))
    return resource

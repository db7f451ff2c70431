"""Telemetry whose spans and metrics stay in memory, for a test to look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from governor.telemetry.instruments import Instruments
from governor.telemetry.providers import Telemetry, telemetry


@dataclass
class Recorded:
    """A telemetry and what it was told."""

    telemetry: Telemetry
    _spans: InMemorySpanExporter
    _metrics: InMemoryMetricReader

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self._spans.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    @property
    def instruments(self) -> Instruments:
        assert self.telemetry.instruments is not None
        return self.telemetry.instruments

    def points(self, name: str) -> list[Any]:
        """The data points of a metric, none when it was not reported."""
        data = self._metrics.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def unit(self, name: str) -> str:
        """The unit a metric is reported in."""
        data = self._metrics.get_metrics_data()
        assert data is not None
        (found,) = [
            metric.unit or ""
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return found

    def values(self, name: str, by: str) -> Mapping[str, float]:
        """A sum or gauge by one of its attributes."""
        return {point.attributes[by]: point.value for point in self.points(name)}


def recorded() -> Recorded:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    return Recorded(
        telemetry(span_processors=[SimpleSpanProcessor(spans)], metric_readers=[metrics]),
        spans,
        metrics,
    )

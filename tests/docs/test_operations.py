"""docs/operations.md names every metric there is, with its unit, and every role."""

import re
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from governor.telemetry.instruments import Instruments
from governor.usecases.access import ROLES

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def declared_metrics() -> dict[str, str]:
    """Name and unit of everything that Instruments declares."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    Instruments(meter)
    instruments = meter._instrument_id_instrument.values()  # type: ignore[attr-defined]  # the SDK lists them nowhere else
    return {instrument.name: instrument.unit for instrument in instruments}


def test_every_metric_is_listed_with_its_unit() -> None:
    listed = dict(re.findall(r"^\| `([a-z_]+\.[a-z_.]+)` \| ([A-Za-z{}]+) \|", PAGE, re.MULTILINE))
    assert listed == declared_metrics()


def test_every_role_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z]+)` \| [a-z]", PAGE, re.MULTILINE))
    assert listed == set().union(*ROLES.values())

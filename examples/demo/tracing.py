"""The demo's own spans: those of a client, exported as any other process exports them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.demo.processes import SPAN_EXPORT_DELAY_MILLIS
from examples.demo.trace_tree import CLIENT


@asynccontextmanager
async def exporting(endpoint: str) -> AsyncIterator[None]:
    """Exports the spans of this process to `endpoint` until the block ends."""
    exporter = OTLPSpanExporter(
        endpoint=endpoint,
        insecure=True,
        # gRPC would ask a proxy for the way to loopback.
        channel_options=(("grpc.enable_http_proxy", 0),),  # type: ignore[arg-type]  # its hint knows texts alone
    )
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: CLIENT}))
    provider.add_span_processor(
        BatchSpanProcessor(exporter, schedule_delay_millis=SPAN_EXPORT_DELAY_MILLIS)
    )
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # In a thread: the collector that takes the last spans answers on this loop.
        await asyncio.to_thread(provider.shutdown)

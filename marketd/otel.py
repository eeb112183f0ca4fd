"""
OpenTelemetry spans, sent by OTLP over HTTP: for services with `traces.endpoint` and the extra `otel`.

The one rule: a caller's decision to record a trace or not is kept; of those that begin here, the given share is
recorded. Spans are sent by a thread of their own, in batches; what can't be sent is dropped.
"""

import logging
from collections.abc import Sequence
from threading import Timer
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from marketd import __version__
from marketd.spans import Kind

KINDS: Final[dict[Kind, SpanKind]] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}
LINKS_MAX: Final = 8  # links of a span to its further parents
QUEUE_MAX: Final = 4_096
SEND_EVERY_S: Final = 2.0
SEND_S_MAX: Final = 5.0
END_S_MAX: Final = 2.0

log = logging.getLogger("marketd.traces")


class Sending(BatchSpanProcessor):
    """
    Sends spans to a collector, in batches; at the end for some seconds only, so that an absent collector holds up
    nothing.
    """

    def __init__(self, endpoint: str) -> None:
        self._line = OTLPSpanExporter(endpoint, timeout=SEND_S_MAX)
        super().__init__(self._line, max_queue_size=QUEUE_MAX, schedule_delay_millis=SEND_EVERY_S * 1000)

    def shutdown(self) -> None:
        """Send what is left; after `END_S_MAX` the exporter is shut down, which ends its wait for a retry."""
        cut = Timer(END_S_MAX, self._line.shutdown)
        cut.daemon = True
        cut.start()
        super().shutdown()  # type: ignore[no-untyped-call]
        cut.cancel()


class OtelRecorder:
    """Records a share of the traces."""

    def __init__(self, processor: SpanProcessor, share: float, service: str) -> None:
        resource = Resource.create({"service.name": service, "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(share))
        self._provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("marketd", __version__)

    def begin(self, name: str, kind: Kind, parents: Sequence[str]) -> "OtelSpan":
        """Begin a span within the first of these traceparents, linked to the others."""
        known = [found for found in map(_context, dict.fromkeys(parents)) if found is not None]
        within = trace.set_span_in_context(NonRecordingSpan(known[0]), Context()) if known else Context()
        links = [Link(other) for other in known[1 : LINKS_MAX + 1]]
        return OtelSpan(self._tracer.start_span(name, within, KINDS[kind], links=links))

    def close(self) -> None:
        """Send what is still to be sent. Blocks, for a few seconds at most."""
        self._provider.shutdown()


class OtelSpan:
    """An OpenTelemetry span."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        known = span.get_span_context()
        self.traceparent = f"00-{known.trace_id:032x}-{known.span_id:016x}-{int(known.trace_flags) & 1:02x}"

    def say(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the span; of an error only the type is recorded, because its message may hold anything."""
        if kind is not None:
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._span.end()


def _context(traceparent: str) -> SpanContext | None:
    """Read a traceparent of ours."""
    parts = traceparent.split("-")
    if len(parts) != 4:
        return None
    _, trace_id, span_id, flags = parts
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))

"""
Makes the recorder of spans, for the composition root.

    ExtraMissing    traces are enabled, but the extra that records them is not installed
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from marketd.spans import record_with


class ExtraMissing(Exception):
    """The message is one line for the operator."""


SERVICE: Final = "marketd"
INDEX: Final = "marketd-index"  # a process of its own, so its spans have another service name


@asynccontextmanager
async def traced(endpoint: str | None, share: float, service: str = SERVICE) -> AsyncIterator[None]:
    """Record spans for as long as the block lasts, if an endpoint is set; raise `ExtraMissing`."""
    if endpoint is None:
        yield
        return
    try:
        from marketd.otel import OtelRecorder, Sending  # imported here: it is large, and missing without the extra
    except ImportError as error:
        told = "traces.endpoint is set, and the extra is not installed: pip install 'marketd[otel]'"
        raise ExtraMissing(f"{told} ({error})") from None
    recorder = OtelRecorder(Sending(endpoint), share, service)
    record_with(recorder)
    try:
        yield
    finally:
        record_with(None)
        await asyncio.to_thread(recorder.close)

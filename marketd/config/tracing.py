"""
Where spans go, for the composition root.

    ExtraMissing    traces are wanted, and what records them is not installed
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from marketd.config.settings import Settings
from marketd.spans import record_with


class ExtraMissing(Exception):
    """The message is one line for the operator."""


@asynccontextmanager
async def traced(settings: Settings) -> AsyncIterator[None]:
    """Record spans for as long as the block lasts, if the settings want it; raise `ExtraMissing`."""
    wanted = settings.traces
    if wanted.endpoint is None:
        yield
        return
    try:
        from marketd.otel import OtelRecorder, sending  # it is large, and not there without the extra
    except ImportError as error:
        told = "traces.endpoint is set, and the extra is not installed: pip install 'marketd[otel]'"
        raise ExtraMissing(f"{told} ({error})") from None
    recorder = OtelRecorder(sending(wanted.endpoint), wanted.share)
    record_with(recorder)
    try:
        yield
    finally:
        record_with(None)
        await asyncio.to_thread(recorder.close)

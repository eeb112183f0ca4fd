"""What is counted for sellers beside the read models: views of products, and news of sales."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from marketd.bus.port import Bus
from marketd.clock import Clock
from marketd.config.background import background
from marketd.config.folder import Folder
from marketd.config.settings import Settings
from marketd.storage.projector import Projector
from marketd.storage.tills import Tills
from marketd.storage.views import Views


@asynccontextmanager
async def counting(
    settings: Settings, folder: Folder, bus: Bus, projector: Projector, clock: Clock
) -> AsyncIterator[Views]:
    """Count views and watch for sales for as long as the block lasts."""
    limits = settings.analytics
    views = Views(folder.views, clock, visitors_max=limits.visitors_day_max)
    tills = Tills(projector, clock, pause_s=limits.live_pause_s)
    async with views:
        await views.open(bus)
        await tills.open(bus)
        async with background(views.run(), tills.run()):
            yield views

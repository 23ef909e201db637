"""Asks the models, and sees to it that there is a process that runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache

import structlog

from app.inference.model_link import Document, ModelLink, restarting
from app.inference.model_process import ModelProcess, ModelSide
from app.settings import get_settings

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0  # at least, between two starts
STEADY_SECONDS = 10.0  # what ran for longer is started again at once; what ended sooner, when somebody asks


class SupervisedModels:
    """Belongs to one event loop, but for `start` and `unload`."""

    def __init__(self, make: Callable[[], ModelSide]) -> None:
        self._make = make
        self._side: ModelSide | None = None
        self._link: ModelLink | None = None
        self._connecting = asyncio.Lock()
        self._started = float("-inf")
        self._restarting: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Start what runs the models, so that it is ready when somebody asks. Raises Unavailable."""
        if self._side is None:
            if self._closed or time.monotonic() - self._started < PAUSE_SECONDS:
                raise restarting()
            self._started = time.monotonic()
            self._side = self._make()

    async def ask(self, question: Document) -> Document:
        """See `ModelLink.ask`."""
        link = self._link or await self._connect()
        return await link.ask(question)

    async def _connect(self) -> ModelLink:
        async with self._connecting:
            if self._link is None:
                self.start()
                assert self._side is not None
                loop, ours = asyncio.get_running_loop(), self._side.connection
                _, self._link = await loop.create_unix_connection(lambda: ModelLink(self._lost), sock=ours)
            return self._link

    def _lost(self) -> None:
        """The other end has gone. What waited for an answer has been told."""
        side, self._side, self._link = self._side, None, None
        if side is not None and not self._closed:
            self._restarting = asyncio.create_task(self._restart(side))

    async def _restart(self, side: ModelSide) -> None:
        ran = time.monotonic() - self._started
        how = await asyncio.to_thread(side.end)
        log.error("the process that runs the models has ended", how=how, seconds=round(ran, 1))
        if ran > STEADY_SECONDS and not self._closed:
            self.start()

    def unload(self, artifact: str) -> None:
        """Have a deleted model forgotten."""
        if self._link is not None:
            self._link.unload(artifact)

    async def close(self) -> None:
        """End what runs the models, and wait until it has ended."""
        self._closed = True
        side, link = self._side, self._link
        if link is not None:
            link.close()
        elif side is not None:
            side.connection.close()
        if side is not None:
            await asyncio.to_thread(side.end)
        if self._restarting is not None:
            await self._restarting


@lru_cache
def get_models() -> SupervisedModels:
    """Those of this process."""
    settings = get_settings()
    return SupervisedModels(lambda: ModelProcess(settings))

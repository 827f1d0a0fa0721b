"""Writes to the cache file from one dedicated thread, one call at a time, off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumers import _redb
    from consumers.batch import Batch
    from consumers.meta import Checkpoint
    from consumers.store import Store
    from schemas.definition import TableDefinition

_Result = TypeVar("_Result")


class Applier:
    """Owns an open ``Store`` and the only thread that touches it. Use as ``async with``.

    A call that was begun is finished before the next one starts, also when its caller was cancelled.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="redb")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._run(self._store.close)
        self._thread.shutdown()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last durable checkpoint."""
        return self._store.checkpoint

    @property
    def database(self) -> _redb.Database:
        """The open file, to be read from any thread."""
        return self._store.database

    @property
    def definitions(self) -> Mapping[str, TableDefinition]:
        """The tables in the file, as of the last commit."""
        return self._store.definitions

    async def commit(self, batch: Batch, checkpoint: Checkpoint) -> None:
        """Makes whole groups durable: their rows, what was streamed of them, and the checkpoint."""
        await self._run(lambda: self._store.commit(batch, checkpoint))

    async def stream(self, batch: Batch) -> None:
        """Writes a part of a big group, to be committed or taken back later."""
        await self._run(lambda: self._store.stream(batch))

    async def take_back(self) -> None:
        """Undoes the parts streamed since the last commit."""
        await self._run(self._store.take_back)

    async def quarantined(self) -> set[bytes]:
        """The record keys of all quarantined rows."""
        return await self._run(self._store.quarantined)

    async def replace(self, swap: Callable[[], Store]) -> None:
        """Closes the store, runs ``swap`` and goes on with the store that it returns."""

        def exchange() -> None:
            self._store.close()
            self._store = swap()

        await self._run(exchange)

    async def _run(self, call: Callable[[], _Result]) -> _Result:
        future = asyncio.get_running_loop().run_in_executor(self._thread, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread cannot be interrupted: leave only when the write has ended, one way or the other.
            await asyncio.wait([future])
            raise

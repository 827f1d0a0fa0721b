"""A running node mends rows that readers met damaged: from its source, else by loading everything anew."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from cdc import limits
from cdc.cli.mending import mend_keys
from consumers.control import messages
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cdc.cli.mending import Key
    from cdc.cli.standing import WriterProcess
    from cdc.config import Config
    from consumers.control.desk import Desk
    from consumers.mending import Standing

_log = structlog.get_logger("cdc.node")


@asynccontextmanager
async def mending_itself(config: Config, process: WriterProcess) -> AsyncIterator[None]:
    """Have the node mend what it is told of, for the length of a block."""
    mender = _Mender(config, process)
    process.desk.told_of_damage = mender.told
    task = asyncio.create_task(mender.work())
    try:
        yield
    finally:
        process.desk.told_of_damage = None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Mender:
    def __init__(self, config: Config, process: WriterProcess) -> None:
        self._config = config
        self._process = process
        self._told: set[Key] = set()
        self._left: set[Key] = set()
        self._rebuild_at = 0.0
        self._wake = asyncio.Event()

    def told(self, table: str, key: bytes) -> None:
        """Somebody met a damaged row. Only this user can say so; to mend a sound row does no harm."""
        if len(self._told) < limits.DAMAGED_KEYS_MAX:
            self._told.add((table, key))
            self._wake.set()

    async def work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            keys, self._told = self._told, set()
            tables = sorted({table for table, _ in keys})
            _log.warning("readers met damaged rows", rows=len(keys), tables=tables)
            try:
                if self._config.source is not None:
                    done = await mend_keys(self._config, _Within(self._process.desk), sorted(keys))
                    _log.info(
                        "mended damaged rows", rows=done.mended, pending=done.pending, failed=done.failed
                    )
                else:
                    await self._without_source(keys)
            except CdcError as error:
                _log.warning("could not mend damaged rows", reason=error.message, remedy=error.remedy)
            # However many readers there are: the source and the file are not asked all the time.
            await asyncio.sleep(limits.DAMAGED_PAUSE_SECONDS)

    async def _without_source(self, keys: set[Key]) -> None:
        self._left |= keys
        if len(self._left) < limits.DAMAGED_ROWS_MAX:
            _log.warning(
                "damaged rows are refused to readers",
                rows=len(self._left),
                remedy="run: cdc verify --repair with a --source, or cdc rebuild",
            )
        elif time.monotonic() >= self._rebuild_at:
            self._rebuild_at = time.monotonic() + limits.DAMAGED_REBUILD_SECONDS
            _log.warning("loading everything anew", reason="too many damaged rows", rows=len(self._left))
            await self._process.orders.ask_rebuild("kafka")
            self._left.clear()


class _Within:
    """This node, as `mend_keys` asks it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def hold(self) -> Standing:
        return await self._desk.answer(messages.Hold())

    async def mend(self, request: messages.Mend) -> int:
        return await self._desk.answer(request)

    async def let_go(self) -> None:
        await self._desk.answer(messages.LetGo())

    async def drop(self, names: list[bytes] | None) -> int:
        return await self._desk.answer(messages.Drop(names))

    async def retry_stored(self, names: list[bytes] | None) -> int:
        return await self._desk.answer(messages.RetryStored(names))

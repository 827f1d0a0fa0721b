"""Puts single rows of a cache right from the source: through the running node, or alone where none runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec

from cdc import limits
from cdc.capture import CaptureStaleError
from cdc.cli.parts import open_capture
from cdc.cli.standing import WriterProcess
from consumers import limits as node_limits
from consumers import quarantine
from consumers.control import messages
from consumers.control.client import NoNodeError, ask
from consumers.mending import OvertakenError, Standing, mend, where
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from cdc.capture import Capture, LogState, SourceReader
    from cdc.config import Config
    from consumers.meta import Checkpoint
    from consumers.writer import CacheWriter

Key = tuple[str, bytes]
"""A table and an encoded key."""


class Hand(Protocol):
    """Who writes the cache: a running node, or this process."""

    async def hold(self) -> Standing:
        """Have the cache stand still for a moment, and say where."""
        ...

    async def mend(self, request: messages.Mend) -> int:
        """Write rows; raises OvertakenError where the cache went on."""
        ...

    async def let_go(self) -> None:
        """Let it go on."""
        ...

    async def drop(self, names: list[bytes] | None) -> int:
        """Take marks of quarantine away."""
        ...

    async def retry_stored(self, names: list[bytes] | None) -> int:
        """Apply what was stored with marks of quarantine."""
        ...


class _Node:
    """A running node, by its control socket."""

    def __init__(self, config: Config, timeout_s: float) -> None:
        self._cache = config.cache.path
        self._timeout_s = timeout_s

    async def hold(self) -> Standing:
        return msgspec.convert(await ask(self._cache, messages.Hold(), self._timeout_s), Standing)

    async def mend(self, request: messages.Mend) -> int:
        return await ask(self._cache, request, self._timeout_s)

    async def let_go(self) -> None:
        await ask(self._cache, messages.LetGo(), self._timeout_s)

    async def drop(self, names: list[bytes] | None) -> int:
        return await ask(self._cache, messages.Drop(names), self._timeout_s)

    async def retry_stored(self, names: list[bytes] | None) -> int:
        return await ask(self._cache, messages.RetryStored(names), self._timeout_s)


class _Alone:
    """This process, which holds the cache open for writing: it stands still by itself."""

    def __init__(self, writer: CacheWriter) -> None:
        self._writer = writer

    async def hold(self) -> Standing:
        return await where(self._writer)

    async def mend(self, request: messages.Mend) -> int:
        return await mend(self._writer, request)

    async def let_go(self) -> None:
        pass

    async def drop(self, names: list[bytes] | None) -> int:
        return await quarantine.drop(self._writer, names)

    async def retry_stored(self, names: list[bytes] | None) -> int:
        return await quarantine.retry_stored(self._writer, names)


@asynccontextmanager
async def writing_hand(config: Config, kind: str, timeout_s: float) -> AsyncIterator[Hand]:
    """The running node, or this process where none runs.

    Raises:
        CacheBusyError: a one-shot command writes the cache, and does not end in time.
    """
    try:
        await ask(config.cache.path, messages.Status(), timeout_s)
    except NoNodeError:
        async with WriterProcess(config, kind, timeout_s).open_writer() as writer:
            yield _Alone(writer)
    else:
        yield _Node(config, timeout_s)


class Mended(msgspec.Struct):
    """What became of keys: put right, left to the log which has newer changes of them, or not mended."""

    mended: int = 0
    pending: int = 0
    failed: int = 0
    unpublishable: int = 0


async def mend_keys(config: Config, hand: Hand, keys: Iterable[Key]) -> Mended:
    """Write rows as they are at the source, in bounded batches, each at the cache's own checkpoint.

    Raises:
        CdcError: the source's log does not lead on from where the cache stands.
    """
    done = Mended()
    waiting = iter(keys)
    async with open_capture(config) as capture:
        while batch := list(islice(waiting, node_limits.MEND_ROWS_MAX)):
            await _mend_batch(capture, hand, batch, done)
    return done


async def _mend_batch(capture: Capture, hand: Hand, batch: list[Key], done: Mended) -> None:
    todo, tries = batch, limits.MEND_TRIES_MAX
    while todo:
        standing = await hand.hold()
        try:
            async with capture.reading(limits.MOMENT_TRIES_MAX) as reader:
                state = await reader.state(standing.change_id)
                check_same_log(standing, state)
                _check_settings(standing, reader, todo)
                pending = await _pending(reader, standing.change_id, todo)
                rows = await _read(reader, [key for key in todo if key not in pending])
                exact_at = reader.newest.high
                if exact_at > state.high:
                    # Some may be newer than the others: what was touched meanwhile is the log's, too.
                    pending |= await _pending(reader, state.high, todo)
                    rows = [row for row in rows if (row.table, row.key) not in pending]
            request = messages.Mend(state.epoch, state.epoch_nonce, exact_at, rows)
            right = await hand.mend(request)
        except (OvertakenError, CaptureStaleError) as error:
            tries -= 1
            if not tries:
                if isinstance(error, CaptureStaleError):
                    raise
                done.failed += len(todo)
                return
            await asyncio.sleep(limits.MEND_PAUSE_SECONDS)
            continue
        finally:
            await hand.let_go()
        taken = {(row.table, row.key) for row in rows}
        done.pending += sum(key in pending for key in todo)
        done.unpublishable += len(rows) - right
        done.mended += right
        # What did not fit into this batch is the next one's.
        todo = [key for key in todo if key not in taken and key not in pending]


def check_same_log(standing: Standing | Checkpoint, state: LogState) -> None:
    """Refuse a source whose log does not lead on from where the cache stands.

    Raises:
        CdcError: it does not.
    """
    same = (standing.epoch, standing.epoch_nonce, standing.database_id) == (
        state.epoch,
        state.epoch_nonce,
        state.database_id,
    )
    if not same or standing.change_id > state.high or state.prev_nonce != standing.nonce:
        raise CdcError(
            f"this source's change log does not lead on from {standing.epoch}:{standing.change_id}, "
            "where the cache stands",
            "bring it up to date first: cdc sync, or the poller and cdc consume",
        )


def _check_settings(standing: Standing, reader: SourceReader, keys: list[Key]) -> None:
    """Refuse to write rows by other settings than the cache's: what is left out there would come in."""
    tables = reader.tables()
    for table in {table for table, _ in keys} & tables.keys() & standing.tables.keys():
        if tables[table].settings != standing.tables[table]:
            raise CdcError(
                f'the cache holds table "{table}" by other settings than the [tables] given here',
                "give those of the poller; if these are newer, bring the cache up to date first",
            )


async def _pending(reader: SourceReader, after: int, keys: list[Key]) -> set[Key]:
    """Those of the keys that the log has changes of which the cache has not applied."""
    wanted = set(keys)
    pending: set[Key] = set()
    async for page in reader.pending(after):
        for table, key in page:
            if not key:
                pending |= {one for one in wanted if one[0] == table}
            elif (table, key) in wanted:
                pending.add((table, key))
    return pending


async def _read(reader: SourceReader, keys: list[Key]) -> list[messages.MendRow]:
    """As many rows as go into one batch."""
    rows: list[messages.MendRow] = []
    size = 0
    tables = reader.tables()
    for table, key in keys:
        change = await reader.row(table, key) if table in tables else None
        row = None if change is None else change[4]
        size += len(key) + len(row or b"")
        if rows and size > node_limits.MEND_BYTES_MAX:
            break
        unpublishable = change is not None and row is None
        rows.append(messages.MendRow(table, key, row, unpublishable))
    return rows

"""Writes a snapshot to the snapshot topic: every row in chunks, then the manifest."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from cdc import limits
from cdc.kafka.sender import Sender
from cdc.kafka.sizes import Fit, fit_of, key_fits
from schemas.event import NIL, Op
from schemas.keys import record_key
from schemas.manifests import CHUNK_KEY, MANIFEST_KEY
from schemas.parts import parts_of
from schemas.snapshot import GONE, SNAPSHOT_VERSION, Chunk, Manifest, encode_chunk, encode_manifest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka import AIOKafkaProducer

    from cdc.capture import Change, SourceReader


class Written(msgspec.Struct, frozen=True):
    """A snapshot whose chunks are all acknowledged; the offsets are of the first and the last of them."""

    snapshot: int
    first_offset: int
    last_offset: int
    chunks: int
    rows: int


class SnapshotWriter:
    """Gathers rows into chunks of one table each and sends them, few in flight.

    Chunks of other writers may land between ours; the snapshot's random id and the chunks' index tell.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._sender = Sender(producer, topic, next_offset=None)
        self._snapshot = secrets.randbits(63)
        self._table = ""
        self._rows: list[tuple[bytes, Raw, int]] = []
        self._bytes = 0
        self._chunks = 0
        self._rows_written = 0
        self._first_offset: int | None = None
        self._written: Written | None = None

    @property
    def rows(self) -> int:
        """Rows sent so far."""
        return self._rows_written

    async def add(self, table: str, page: list[Change]) -> None:
        """Adds rows of a table, in key order; then what goes over them: rows again, and ops d."""
        if table != self._table:
            await self._send_chunk()
            self._table = table
        for op, _, full_key, _, after, change_id, _ in page:
            name_bytes = len(record_key(table, full_key))
            fit = Fit.NOT if after is None else fit_of(name_bytes, len(after))
            if after is not None and fit is Fit.SPLIT:
                await self._send_parts(full_key, after, change_id)
                continue
            # A row that cannot be published is announced without its image: nodes mark its key, if that fits.
            key = full_key if key_fits(name_bytes) else b""
            row = Raw(after) if after is not None and fit is Fit.WHOLE else GONE if op == Op.DELETE else NIL
            size = len(key) + len(row) + 16
            if self._bytes + size > limits.CHUNK_BYTES:
                await self._send_chunk()
            self._rows.append((key, row, change_id))
            self._bytes += size

    async def finish(self) -> Written:
        """Returns when every chunk is acknowledged."""
        if not self._chunks or self._rows:
            await self._send_chunk(even_empty=not self._chunks)
        await self._sender.flush()
        last = self._sender.last_offset
        if self._first_offset is None or last is None:
            raise RuntimeError("a snapshot without a chunk")
        self._written = Written(
            snapshot=self._snapshot,
            first_offset=self._first_offset,
            last_offset=last,
            chunks=self._chunks,
            rows=self._rows_written,
        )
        return self._written

    async def write_manifest(self, announcement_offset: int) -> None:
        """Points at the offset where the announcement is expected to land; it counts only if it does."""
        if self._written is None:
            raise RuntimeError("the snapshot is not finished")
        manifest = Manifest(
            version=SNAPSHOT_VERSION,
            snapshot=self._snapshot,
            announcement_offset=announcement_offset,
            first_offset=self._written.first_offset,
            last_offset=self._written.last_offset,
        )
        # Not the chunks' sender: that none of them is missing is known, and where a manifest landed before
        # does not matter.
        sender = Sender(self._producer, self._topic, next_offset=None)
        await sender.append(MANIFEST_KEY, encode_manifest(manifest))
        await sender.flush()

    async def _send_parts(self, key: bytes, row: bytes, change_id: int) -> None:
        """Sends one row over several chunks."""
        await self._send_chunk()
        parts, pieces = parts_of(row, limits.RECORD_BYTES_MAX // 2)
        for part, piece in enumerate(pieces):
            self._rows = [(key, piece, change_id)]
            await self._send_chunk(part=part, parts=parts)
        self._rows_written -= parts - 1

    async def _send_chunk(self, *, even_empty: bool = False, part: int = 0, parts: int = 1) -> None:
        if not self._rows and not even_empty:
            return
        chunk = Chunk(SNAPSHOT_VERSION, self._snapshot, self._chunks, self._table, self._rows, part, parts)
        await self._sender.append(CHUNK_KEY, encode_chunk(chunk))
        await self._sender.send()
        if self._first_offset is None:
            # Known at once, so that readers are never pointed at an offset that was guessed.
            await self._sender.flush()
            self._first_offset = self._sender.last_offset
        self._chunks += 1
        self._rows_written += len(self._rows)
        self._rows, self._bytes = [], 0


async def write_rows(
    chunks: SnapshotWriter, reader: SourceReader, beat: Callable[[], Awaitable[None]] | None
) -> Written:
    """Writes every row, and then as `write_changes` does.

    Args:
        chunks: a new writer.
        reader: the source.
        beat: sends a heartbeat, now and then while the tables are written; None where nobody waits for one.
    """
    loop = asyncio.get_running_loop()
    heard = loop.time()
    for table in reader.tables():
        async with aclosing(reader.rows(table)) as pages:
            async for page in pages:
                await chunks.add(table, page)
                if beat is not None and loop.time() - heard > limits.HEARTBEAT_SECONDS:
                    await beat()
                    heard = loop.time()
    return await write_changes(chunks, reader)


async def write_changes(chunks: SnapshotWriter, reader: SourceReader) -> Written:
    """Writes what changed while rows were read, or since the last time, as of where the reader settles."""
    async with aclosing(reader.catch_up()) as pages:
        async for page in pages:
            for table, changes in groupby(page, itemgetter(1)):
                await chunks.add(table, list(changes))
    return await chunks.finish()

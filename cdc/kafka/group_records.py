"""The records of one group: numbered, offset by offset, rows that are too large split or only spoken of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec import Raw
from msgspec.structs import replace

from cdc import limits
from cdc.kafka.sizes import Fit, fit_of, key_fits
from schemas.codec import ENCODERS
from schemas.event import EVENT_VERSION, NIL, ChangeEvent, Head, Op
from schemas.keys import record_key
from schemas.parts import parts_of

if TYPE_CHECKING:
    from cdc.capture import Change
    from cdc.kafka.sender import Sender
    from schemas.codec import Encoding

_log = structlog.get_logger("cdc.kafka")

PART_ROOM_BYTES = 64
"""Set aside in each part's record for numbers that grow, and for what marks a bin."""

PART_SHARE_MIN = 16
"""A row is not split into parts smaller than this part of a record."""


class GroupRecords:
    """Writes one group's records, each with the offset at which it is expected to land.

    Args:
        sender: where they go.
        encoding: of events.
        writer: the poller's life.
        head: where the group leads to; may be set anew until the last page is sent.
        prev: where it begins.
        read_after: where the topic ended just before the source was read.
        topic_id: which topic of the sender's name it is meant for; None where the broker tells no ids.
    """

    def __init__(
        self,
        sender: Sender,
        encoding: Encoding,
        writer: int,
        head: Head,
        prev: Head,
        read_after: int,
        topic_id: int | None,
    ) -> None:
        self.head = head
        self.sent_bytes = 0
        self._sender = sender
        self._encoding = encoding
        self._encode = ENCODERS[encoding]
        self._index = 0
        self._writer = writer
        self._prev, self._prev_nonce = prev.change_id, prev.nonce
        self._prev_settings = None if prev.settings == head.settings else prev.settings
        self._epoch, self._epoch_nonce = head.epoch, head.epoch_nonce
        self._nonce = head.nonce
        self._read_after = read_after
        self._topic_id = topic_id

    async def send(self, page: list[Change], *, last: bool) -> None:
        """Sends a page of changes; ``last``: the group ends with it."""
        index = self._index
        final = len(page) - 1 if last else -1
        offset = self._sender.next_offset or 0
        for at, (op, table, key, key_values, after, change_id, ts_ms) in enumerate(page):
            name, size_bytes = record_key(table, key), 0 if after is None else len(after)
            row = NIL if after is None else Raw(after)
            event = self._event(op, table, Raw(key_values), row, change_id, ts_ms, index, at == final, offset)
            fit = fit_of(len(name), size_bytes)
            if fit is Fit.WHOLE or after is None:
                value = self._encode(event)
                if len(name) + len(value) <= limits.RECORD_BYTES_MAX:
                    await self._append(name, value)
                    index += 1
                    offset += 1
                    continue
            part_bytes = 0 if fit is Fit.NOT else self._part_bytes(name, event)
            if after is not None and part_bytes > 0:
                sent = await self._send_parts(name, event, after, part_bytes)
            else:
                sent = await self._send_quarantined(name, event, size_bytes)
            index += sent
            offset += sent
        self._index = index

    async def send_control(self, op: str, after: Raw = NIL) -> None:
        """Sends the group's one record, which speaks of no table."""
        offset = self._sender.next_offset or 0
        event = self._event(op, "", NIL, after, self.head.change_id, 0, 0, True, offset)
        await self._append(b"", self._encode(event))

    def _part_bytes(self, name: bytes, event: ChangeEvent) -> int:
        """How much of a row each of its parts carries; 0: too little is left beside the key."""
        room = limits.RECORD_BYTES_MAX - len(name) - len(self._encode(replace(event, after=NIL)))
        # JSON has bytes in base64; a few more are for the numbers that grow from part to part.
        part_bytes = (room - PART_ROOM_BYTES) * 3 // 4 if self._encoding == "json" else room - PART_ROOM_BYTES
        return part_bytes if part_bytes >= limits.RECORD_BYTES_MAX // PART_SHARE_MIN else 0

    async def _send_parts(self, name: bytes, event: ChangeEvent, row: bytes, part_bytes: int) -> int:
        """Sends a row over several records; returns how many."""
        parts, pieces = parts_of(row, part_bytes)
        for part, piece in enumerate(pieces):
            record = replace(
                event,
                after=piece,
                index=event.index + part,
                offset=event.offset + part,
                last=event.last and part == parts - 1,
                part=part,
                parts=parts,
            )
            await self._append(name, self._encode(record))
        return parts

    async def _send_quarantined(self, name: bytes, event: ChangeEvent, size_bytes: int) -> int:
        """Sends word of a row that cannot be published."""
        _log.warning("quarantined a row beyond the size limit", table=event.table, bytes=size_bytes)
        key = event.key
        if not key_fits(len(name)):
            # Not even its key fits: the quarantine shows that there is such a row, not which one.
            name, key = record_key(event.table, b""), NIL
        await self._append(name, self._encode(replace(event, op=Op.QUARANTINED, key=key, after=NIL)))
        return 1

    async def _append(self, name: bytes, value: bytes) -> None:
        await self._sender.append(name, value)
        self.sent_bytes += len(name) + len(value)

    def _event(
        self,
        op: str,
        table: str,
        key: Raw,
        after: Raw,
        change_id: int,
        ts_ms: int,
        index: int,
        last: bool,
        offset: int,
    ) -> ChangeEvent:
        return ChangeEvent(
            EVENT_VERSION,
            op,
            table,
            key,
            None,
            after,
            change_id,
            ts_ms,
            self._epoch,
            self._epoch_nonce,
            self._prev,
            self.head.change_id,
            self._nonce,
            self.head.exact_at,
            index,
            last,
            self._writer,
            offset,
            self._prev_nonce,
            self.head.settings,
            self._prev_settings,
            0,
            1,
            self.head.exact_nonce,
            self._read_after,
            self._topic_id,
        )

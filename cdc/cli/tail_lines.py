"""Change events as the JSON lines of ``cdc tail``, and a group of them kept until it is known to be whole."""

from __future__ import annotations

import asyncio
import select
import sys
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Self

import msgspec

from cdc import limits
from schemas.codec import decode_definition, decode_row, decode_values
from schemas.event import NIL, ROW_OPS, Op
from schemas.snapshot import decode_announcement
from schemas.values import json_line, row_to_json, values_to_json

if TYPE_CHECKING:
    from msgspec import Raw

    from schemas.position import Position


class Line(msgspec.Struct, frozen=True):
    """One event as it is printed; ``key`` and ``after`` are still encoded.

    ``position`` is where the event's group leaves a reader, ``prev`` where it begins; ``rows_at`` is the
    change id of the moment its rows were read in.
    """

    op: str
    table: str
    key: bytes | Raw
    after: bytes | Raw
    ts_ms: int
    change_id: int
    position: Position
    prev: int
    rows_at: int
    end: bool
    kafka: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """The JSON document (CONTRACT "JSON values"); ``kafka`` only for what came from there."""
        document: dict[str, Any] = {
            "op": self.op,
            "table": self.table if self.table or self.op in _OF_TABLES else None,
            "key": None if bytes(self.key) in _NOTHING else values_to_json(decode_values(self.key)),
            "before": None,
            "after": None if bytes(self.after) in _NOTHING else _after(self.op, self.after),
            "position": self.position.to_json(),
            "ts_ms": self.ts_ms,
            "end": self.end,
            "source": {"change_id": self.change_id, "prev": self.prev, "exact_at": self.rows_at},
        }
        return document if self.kafka is None else {**document, "kafka": self.kafka}


_OF_TABLES = ROW_OPS | {Op.TRUNCATE}
_NOTHING = (b"", bytes(NIL))


def _after(op: str, after: bytes | Raw) -> Any:
    if op == Op.TRUNCATE:
        return msgspec.to_builtins(decode_definition(after))
    if op == Op.SNAPSHOT:
        return msgspec.to_builtins(decode_announcement(after))
    return row_to_json(decode_row(after))


class GroupLines:
    """The lines of one group, in memory or, beyond `limits.TAIL_BYTES_IN_MEMORY`, in a temporary file.

    Nobody knows before its end whether a group is whole. Use as ``with``.

    Args:
        rows_max: row events to keep; None for all.
    """

    def __init__(self, rows_max: int | None) -> None:
        self.rows = 0
        self._rows_max = rows_max
        self._file = SpooledTemporaryFile[bytes](max_size=limits.TAIL_BYTES_IN_MEMORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def full(self) -> bool:
        """Whether nothing more is kept."""
        return self._rows_max is not None and self.rows >= self._rows_max

    @property
    def empty(self) -> bool:
        """Whether there is no line."""
        return not self._file.tell()

    def add(self, line: Line) -> None:
        """Keep a line, unless there are enough."""
        if not self.full:
            self._file.write(json_line(line.document()))
            self.rows += line.op in ROW_OPS

    def clear(self) -> None:
        """Forget all of them."""
        self.restart(self._rows_max)

    def restart(self, rows_max: int | None) -> None:
        """Forget all of them, and keep so many row events from now on."""
        self.rows, self._rows_max = 0, rows_max
        self._file.seek(0)
        self._file.truncate()

    def write(self) -> None:
        """Write all of them to standard output; it may wait for whoever reads that."""
        stream = sys.stdout.buffer
        self._file.seek(0)
        while block := self._file.read(limits.TAIL_BLOCK_BYTES):
            stream.write(block)
        stream.flush()


class Output:
    """Standard output, up to a number of row events.

    Args:
        limit: row events to print; None: no end.
    """

    def __init__(self, limit: int | None) -> None:
        self.left = limit
        sys.stdout.flush()
        self._poll = select.poll()
        try:
            self._poll.register(sys.stdout.fileno(), 0)
        except OSError:  # what stands for standard output is no file
            self._poll = None

    @property
    def enough(self) -> bool:
        """Whether all that was asked for is printed."""
        return self.left is not None and self.left <= 0

    async def send(self, lines: GroupLines) -> None:
        """Print a whole group."""
        await asyncio.to_thread(lines.write)
        if self.left is not None:
            self.left -= lines.rows

    def check_reader(self) -> None:
        """Raise where whoever read our output is gone: without events to write, nothing else tells.

        Raises:
            BrokenPipeError: it is.
        """
        if self._poll is not None and any(state & select.POLLERR for _, state in self._poll.poll(0)):
            raise BrokenPipeError

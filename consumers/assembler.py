"""From the records of a topic to whole groups. Pure: no I/O, no clock.

A record counts if and only if it landed at the offset, and in the topic, written in it; a group is whole when
its records are consecutive, from one writer, from index 0 to the one marked last. Anything else is ignored or
ends the group.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from consumers.fitness import MAP_MARKERS, NO_DEFINITION, WITH_ROW, fit, key_of, table_prefix
from consumers.groups import Group, Verdict
from schemas.codec import decode_definition, decode_event
from schemas.errors import BadEventError
from schemas.event import NIL, ROW_OPS, ChangeEvent, Op, counts
from schemas.parts import Joiner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.definition import TableDefinition
    from schemas.event import Head


class Record(Protocol):
    """What the assembler reads of a Kafka record."""

    @property
    def offset(self) -> int:
        """Where it landed."""
        ...

    @property
    def key(self) -> bytes | None:
        """Table and key of a row event."""
        ...

    @property
    def value(self) -> bytes | None:
        """The encoded event."""
        ...


class GroupSink(Protocol):
    """What the assembler feeds: `consumers.groups.Groups`, or another reader of whole groups."""

    head: Head | None

    def begin(self, group: Group) -> Verdict:
        """Judges a group and, where it is to be applied, opens it."""
        ...

    def truncate(self, table: str, definition: TableDefinition | None) -> None:
        """A table is read anew."""
        ...

    def put(self, op: str, table: str, key: bytes, row: bytes, change_id: int, ts_ms: int) -> None:
        """Adds one row event to the open group."""
        ...

    def quarantine(
        self, table: str, key: bytes, change_id: int, ts_ms: int, reason: str, record: tuple[bytes, bytes]
    ) -> None:
        """A row event of the open group cannot be applied; ``record`` is the Kafka record's key and value."""
        ...

    def end(self, exact_at: int, exact_nonce: int | None = None) -> Head:
        """The open group is whole; its rows may be as new as ``exact_at``, a row with that nonce."""
        ...

    def abandon(self) -> bool:
        """Drops the open group. True: parts of it were handed out and must be taken back."""
        ...


class Interrupted(enum.Enum):
    """Why the assembler stopped: something outside must act before it goes on."""

    TAKE_BACK = "take back"
    """A group died of which parts were handed out already."""
    HOLE = "hole"
    """A group whose predecessors are missing: only a snapshot leads across."""
    NEW_EPOCH = "new epoch"
    """A group of a newer life of the log: only its snapshot leads there."""
    OTHER_HISTORY = "other history"
    """A group of what the log held before or after a backup was restored: only a snapshot leads there."""
    OTHER_SETTINGS = "other settings"
    """A whole group by other settings than those that the reader holds its rows by: only a snapshot helps."""
    STRIDES = "strides"
    """A group that the reader may stand inside of: whoever knows says whether it leads on from there."""
    FULL = "full"
    """As many rows were added as was asked for; there may be more records."""


class Counters(msgspec.Struct):
    """What was seen, for metrics and the closing report."""

    events: int = 0
    groups: int = 0
    void: int = 0
    foreign: int = 0
    torn: int = 0
    astray: int = 0
    """Of the void ones those that landed where they were expected, but in another topic of that name."""


_STOPPING = {
    Verdict.HOLE: Interrupted.HOLE,
    Verdict.NEW_EPOCH: Interrupted.NEW_EPOCH,
    Verdict.OTHER_HISTORY: Interrupted.OTHER_HISTORY,
    Verdict.STRIDES: Interrupted.STRIDES,
}
STOPS = frozenset((*_STOPPING.values(), Interrupted.OTHER_SETTINGS))
"""Groups that a reader cannot pass."""


def group_of(event: ChangeEvent) -> Group:
    """The header of an event's group."""
    return Group(
        epoch=event.epoch,
        epoch_nonce=event.epoch_nonce,
        prev=event.prev,
        high=event.high,
        nonce=event.nonce,
        prev_nonce=event.prev_nonce,
        settings=event.settings,
        prev_settings=event.prev_settings,
    )


def read_since(event: ChangeEvent, begun: int) -> bool:
    """Whether the source was read for an event's group after the topic was seen to end at ``begun``."""
    return event.read_after is not None and event.read_after > begun


def arrived_since(event: ChangeEvent, begun: int) -> bool:
    """The same; of a poller that does not tell yet, whether the event arrived after that."""
    return event.offset >= begun if event.read_after is None else event.read_after > begun


class Assembler:
    """Feeds the row events of whole, counting, chaining groups into ``groups``.

    Args:
        groups: where the rows go, and where the reader stands.
        offset: the first offset that will be fed.
        topic_id: which topic is read; None where the broker tells no ids.
    """

    def __init__(self, groups: GroupSink, offset: int, topic_id: int | None = None) -> None:
        self.groups = groups
        self.topic_id = topic_id
        self.counters = Counters()
        self.offset = offset
        """Everything below it is dealt with: applied in ``groups`` or of no concern. Never inside a group.

        A reader may come back to it if the record before it proves it: so it moves only behind groups that
        leave a reader where ``groups`` stands.
        """
        self.proved = False
        """Whether such a group was seen: where reading began may be any offset."""
        self.stopped_by: ChangeEvent | None = None
        """The event that could not be passed."""
        self.outdated: ChangeEvent | None = None
        """An event of the last group, where that is of a life of the log before the reader's."""
        self.behind: ChangeEvent | None = None
        """An event of the last group, where that ends below where the reader stands."""
        self._stopping: Interrupted | None = None
        """Why to stop as soon as what died was taken back."""
        self._prefixes: dict[str, bytes] = {}
        self._joiner = Joiner()
        self._forget_run()

    def feed(self, records: Iterator[Record], limit: int) -> Interrupted | None:
        """Takes records until they end, until about ``limit`` rows were added, or until interrupted.

        The iterator can be fed again to go on. Raises UnsupportedVersionError
        for events of a newer major version.
        """
        stopping, self._stopping = self._stopping, None
        return stopping or self._feed(records, limit)

    def _feed(self, records: Iterator[Record], limit: int) -> Interrupted | None:  # noqa: C901 -- the hot loop
        added = 0
        counters = self.counters
        for record in records:
            offset = record.offset
            try:
                event = decode_event(record.value or b"")
            except BadEventError:
                # A stranger's record cannot carry its own offset in our form: it is void like any other.
                counters.foreign += 1
                continue
            as_is = event.offset == offset and event.topic_id == self.topic_id
            if not as_is and not self._counts(event, offset):
                continue
            interrupted = self._begin(event) if event.index == 0 else self._continue(event)
            if interrupted in STOPS:
                return interrupted
            if self._applying and event.parts > 1:
                event, interrupted = self._join(event, interrupted)
                if event is None:
                    if interrupted is not None:
                        return interrupted
                    continue
            if self._applying and event.op in ROW_OPS:
                self._put(event, record)
                added += 1
            elif self._applying and event.op == Op.TRUNCATE:
                self._truncate(event, record)
            if event.last and self._running:
                interrupted = self._end(event, interrupted)
            if interrupted is not None:
                return interrupted
            if added >= limit:
                return Interrupted.FULL
        return None

    def _counts(self, event: ChangeEvent, offset: int) -> bool:
        if counts(event, offset, self.topic_id):
            return True
        self.counters.void += 1
        self.counters.astray += event.offset == offset
        return False

    def _put(self, event: ChangeEvent, record: Record) -> None:
        key, row, table = record.key or b"", bytes(event.after), event.table
        prefix = self._prefixes.get(table)
        if prefix is None:
            prefix = self._prefixes[table] = table_prefix(table)
        start = len(prefix)
        whole = len(key) > start and key.startswith(prefix)
        if whole and (event.op not in WITH_ROW or row[0] in MAP_MARKERS):
            self.groups.put(event.op, table, key[start:], row, event.change_id, event.ts_ms)
            return
        found = fit(event, key, prefix)
        if isinstance(found, bytes):
            self.groups.put(event.op, table, found, row, event.change_id, event.ts_ms)
            return
        told = key[start:] if whole else key_of(event) or b""
        stored = (key, record.value or b"")
        self.groups.quarantine(table, told, event.change_id, event.ts_ms, found, stored)

    def _truncate(self, event: ChangeEvent, record: Record) -> None:
        try:
            definition = None if event.after == NIL else decode_definition(bytes(event.after))
        except BadEventError:
            # Without it nothing can be read of the table: better none than rows under a wrong definition.
            self.groups.truncate(event.table, None)
            stored = (record.key or b"", record.value or b"")
            self.groups.quarantine(event.table, b"", event.change_id, event.ts_ms, NO_DEFINITION, stored)
            return
        self.groups.truncate(event.table, definition)

    def _begin(self, event: ChangeEvent) -> Interrupted | None:
        took = self._abandon_open()
        self._running, self._writer, self._next = True, event.writer, event.offset + 1
        verdict = self.groups.begin(group_of(event))
        self.outdated = event if verdict is Verdict.OLD_EPOCH else None
        self.behind = event if verdict is Verdict.SKIP and self._ends_below(event) else None
        stopping = _STOPPING.get(verdict)
        if stopping is not None:
            self._forget_run()
            self.stopped_by = event
            if took:
                self._stopping, stopping = stopping, Interrupted.TAKE_BACK
            return stopping
        self._applying = verdict is Verdict.APPLY
        # Where it begins is a fact whatever becomes of it; its settings are not: if it dies, another group
        # may lead on.
        self._barred = verdict is Verdict.OTHER_SETTINGS
        return Interrupted.TAKE_BACK if took else None

    def _ends_below(self, event: ChangeEvent) -> bool:
        head = self.groups.head
        return head is not None and event.high < head.change_id

    def _continue(self, event: ChangeEvent) -> Interrupted | None:
        if self._running and event.writer == self._writer and event.offset == self._next:
            self._next += 1
            return None
        # The tail of a group whose beginning we did not see, or which something else has cut in two.
        return Interrupted.TAKE_BACK if self._abandon_open() else None

    def _join(
        self, event: ChangeEvent, interrupted: Interrupted | None
    ) -> tuple[ChangeEvent | None, Interrupted | None]:
        """Takes a part; gives the whole event with the last one. What does not fit together is dead."""
        joiner = self._joiner
        try:
            if joiner.add(event.part, event.parts, event.after):
                value = joiner.take()
                if value is not None:
                    return replace(event, after=Raw(value), part=0, parts=1), interrupted
                return replace(event, op=Op.QUARANTINED, after=NIL, part=0, parts=1), interrupted
            dead = event.last
        except BadEventError:
            dead = True
        if dead and self._abandon_open():
            interrupted = Interrupted.TAKE_BACK
        return None, interrupted

    def _end(self, event: ChangeEvent, interrupted: Interrupted | None) -> Interrupted | None:
        if self._barred:
            self._forget_run()
            self.stopped_by = event
            if interrupted is None:
                return Interrupted.OTHER_SETTINGS
            self._stopping = Interrupted.OTHER_SETTINGS
            return interrupted
        if self._applying:
            self.groups.end(event.exact_at, event.exact_nonce)
            self.counters.groups += 1
        self._forget_run()
        head = self.groups.head
        if head is not None and (event.epoch, event.high, event.nonce) == (
            head.epoch,
            head.change_id,
            head.nonce,
        ):
            # Behind any other group the offset would not be proved by what the cache has.
            self.offset, self.proved = event.offset + 1, True
        return interrupted

    def _abandon_open(self) -> bool:
        if self._running:
            self.counters.torn += 1
        self._forget_run()
        return self.groups.abandon()

    def _forget_run(self) -> None:
        self._joiner.drop()
        self._running = False
        self._applying = False
        self._barred = False
        self._writer = 0
        self._next = 0

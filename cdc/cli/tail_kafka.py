"""``cdc tail`` from Kafka: the groups that count, whole, as nodes see them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from cdc import limits
from cdc.cli.tail_lines import GroupLines, Line
from consumers.assembler import Assembler
from consumers.groups import Group, Verdict, judge
from consumers.subscription import Subscription
from schemas.codec import decode_event, encode_definition
from schemas.errors import BadEventError, GaveUpError, KafkaUnavailableError
from schemas.event import CONTROL_OPS, Head, Op, same_topic
from schemas.kafka_calls import TopicGoneError
from schemas.position import Position
from schemas.retrying import Backoff, pause
from schemas.topics import PARTITION, TopicMadeAnewError, TopicReader

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from cdc.cli.tail_lines import Output
    from schemas.definition import TableDefinition
    from schemas.event import ChangeEvent
    from schemas.kafka_properties import KafkaClients

_log = structlog.get_logger("cdc.cli")

_PASSED = frozenset((Verdict.HOLE, Verdict.NEW_EPOCH, Verdict.OTHER_HISTORY, Verdict.OTHER_SETTINGS))
"""Groups that a cache cannot pass, and whoever only shows events can."""


class _Record(Protocol):
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


class TailedGroups:
    """Turns whole groups into lines; a reader that needs no group before the one it sees.

    Takes the place of `consumers.groups.Groups` behind an `Assembler`, which is fed record by record.

    Args:
        topic: named in the lines.
        lines: where they go; empty between groups.
        control: also lines of control events.
    """

    def __init__(self, topic: str, lines: GroupLines, *, control: bool) -> None:
        self.head: Head | None = None
        self.whole = False
        """Whether ``lines`` are those of a whole group."""
        self._topic = topic
        self._lines = lines
        self._control = control
        self._group: Group | None = None
        self._event: ChangeEvent | None = None
        self._offset = 0

    def look_at(self, record: _Record) -> None:
        """Say which record is fed next."""
        self._offset = record.offset
        try:
            self._event = decode_event(record.value or b"")
        except BadEventError:
            self._event = None

    def begin(self, group: Group) -> Verdict:
        """Open any group but those that say nothing new; over holes and into other histories it goes on."""
        verdict = judge(self.head, group)
        if verdict is Verdict.SKIP and group.prev == group.high:
            verdict = Verdict.APPLY  # an empty group: of interest with its control event only
        if verdict in _PASSED:
            verdict = Verdict.APPLY
        self._group = group if verdict is Verdict.APPLY else None
        return verdict

    def truncate(self, table: str, definition: TableDefinition | None) -> None:
        """A table is read anew."""
        event = self._seen()
        # The event may have come in parts.
        after = b"" if definition is None else encode_definition(definition)
        self._add(Op.TRUNCATE, table, after, event.change_id, event.ts_ms)

    def put(self, op: str, table: str, key: bytes, row: bytes, change_id: int, ts_ms: int) -> None:
        """A row event."""
        # The key's values are wanted, which the event has.
        del key
        self._add(op, table, row if op in (Op.CREATE, Op.UPDATE, Op.READ) else b"", change_id, ts_ms)

    def quarantine(
        self, table: str, key: bytes, change_id: int, ts_ms: int, reason: str, record: tuple[bytes, bytes]
    ) -> None:
        """A row event that no node can apply."""
        del key, reason, record
        self._add(Op.QUARANTINED, table, b"", change_id, ts_ms)

    def end(self, exact_at: int, exact_nonce: int | None = None) -> Head:
        """The group is whole."""
        # The event's head has them.
        del exact_at, exact_nonce
        group, event = self._group, self._seen()
        if group is None:
            raise RuntimeError("no group is open")
        if event.op in CONTROL_OPS and self._control:
            self._add(event.op, "", event.after, event.change_id, event.ts_ms)
        self.head = event.head
        self._group = None
        self.whole = True
        return self.head

    def abandon(self) -> bool:
        """The group under way is dead; nothing of it was printed."""
        self._group = None
        self._lines.clear()
        return False

    def _add(self, op: str, table: str, after: Any, change_id: int, ts_ms: int) -> None:
        event = self._seen()
        line = Line(
            op=op,
            table=table,
            key=event.key,
            after=after,
            ts_ms=ts_ms,
            change_id=change_id,
            position=Position(event.epoch, event.high),
            prev=event.prev,
            rows_at=event.exact_at,
            end=event.last,
            kafka={"topic": self._topic, "partition": PARTITION, "offset": self._offset},
        )
        self._lines.add(line)

    def _seen(self) -> ChangeEvent:
        if self._event is None:
            raise RuntimeError("no event was looked at")
        return self._event


class TopicTail:
    """Prints the groups of one topic.

    Args:
        clients: how to reach Kafka.
        topic: of the events.
        output: where lines go.
        stop: ends it in good order.
        control: print control events, too.
    """

    def __init__(
        self, clients: KafkaClients, topic: str, output: Output, stop: asyncio.Event, *, control: bool
    ) -> None:
        self._clients = clients
        self._topic = topic
        self._output = output
        self._stop = stop
        self._control = control
        self._head: Head | None = None
        self._offset: int | None = None
        self._topic_id: int | None = None
        self._until: int | None = None

    async def print_all(self, *, from_beginning: bool, follow: bool, timeout_s: float) -> None:
        """Print from the topic's beginning or its end on, up to its end now or for ever.

        Raises:
            GaveUpError: Kafka was not reached within the timeout.
            TopicGoneError: there is no such topic.
        """
        backoff = Backoff()
        deadline_s = time.monotonic() + timeout_s
        while not self._stop.is_set() and not self._output.enough:
            try:
                await self._find_start(from_beginning=from_beginning, follow=follow)
                await self._print_on()
            except TopicGoneError:
                raise
            except KafkaUnavailableError as error:
                # What follows waits for a broker as nodes do, once it was there.
                begun = follow and self._offset is not None
                if not begun and time.monotonic() > deadline_s:
                    raise GaveUpError(error.message, error.remedy) from error
                _log.warning("trying again", reason=error.message, remedy=error.remedy)
                self._output.check_reader()
                await pause(self._stop, backoff.next())
            else:
                return

    async def _find_start(self, *, from_beginning: bool, follow: bool) -> None:
        async with TopicReader(self._clients.consumer()) as reader:
            start, end = await reader.bounds(self._topic)
            known, self._topic_id = self._topic_id, reader.topic_id(self._topic)
            if self._offset is None:
                self._offset = start if from_beginning else await self._open_group(reader, start, end)
                self._until = None if follow else end
            elif not same_topic(self._topic_id, known) or self._offset > end:
                _log.warning("the topic was made anew: all of it is news", next=self._offset, end=end)
                self._offset, self._head = start, None
                self._until = None if follow else end
            elif self._offset < start:
                _log.warning("records are gone from the topic", next=self._offset, first=start, end=end)
                self._offset = start

    async def _open_group(self, reader: TopicReader, start: int, end: int) -> int:
        """Where the group begins that is being written now; the end where there is none."""
        event = None if end <= start else reader.event_of(await reader.record(self._topic, end - 1))
        if event is None or event.last:
            return end
        return max(start, end - 1 - event.index)

    async def _print_on(self) -> None:
        offset = self._offset or 0
        with GroupLines(self._output.left) as lines:
            groups = TailedGroups(self._topic, lines, control=self._control)
            groups.head = self._head
            async with Subscription(self._clients.consumer(), self._topic, None, offset) as subscription:
                if not same_topic(subscription.topic_id, self._topic_id):
                    raise TopicMadeAnewError(self._topic)
                assembler, astray = Assembler(groups, offset, subscription.topic_id), 0
                while not self._ended(offset):
                    self._output.check_reader()
                    records = await subscription.fetch()
                    if not records:
                        offset = max(offset, await subscription.position())
                    for number, record in enumerate(records):
                        await self._print_record(assembler, groups, lines, record)
                        offset = record.offset + 1
                        if self._ended(offset):
                            break
                        if not number % limits.TAIL_YIELD_RECORDS:
                            await asyncio.sleep(0)
                    if assembler.counters.astray > astray:
                        astray = assembler.counters.astray
                        await subscription.look_at_topic()

    def _ended(self, offset: int) -> bool:
        at_end = self._until is not None and offset >= self._until
        return at_end or self._stop.is_set() or self._output.enough

    async def _print_record(
        self, assembler: Assembler, groups: TailedGroups, lines: GroupLines, record: ConsumerRecord
    ) -> None:
        groups.look_at(record)
        assembler.feed(iter((record,)), limit=1)
        if not groups.whole:
            return
        groups.whole = False
        await self._output.send(lines)
        lines.restart(self._output.left)
        self._head, self._offset = groups.head, record.offset + 1

"""A cache node fed by Kafka: fetches, assembles whole groups, and commits rows and offset together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from consumers import limits
from consumers.assembler import STOPS, Assembler, Counters, Interrupted, arrived_since, group_of
from consumers.bootstrap import still_leads_here
from consumers.subscription import Subscription
from consumers.wayfinder import Wayfinder
from schemas.errors import (
    CdcError,
    KafkaUnavailableError,
    OperatorError,
    UnsupportedVersionError,
)
from schemas.event import same_topic
from schemas.topics import TopicMadeAnewError, TopicReader, Topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

    from consumers.quarantine_topic import QuarantineTopic
    from consumers.source_access import SourceAccess
    from consumers.writer import CacheWriter
    from schemas.event import ChangeEvent

_log = structlog.get_logger("consumers.node")


class Consumed(msgspec.Struct, frozen=True):
    """What a node did: rows loaded from snapshots, events applied from the log."""

    rows: int = 0
    events: int = 0


class KafkaNode:
    """Keeps a cache equal to the database behind a topic.

    Args:
        writer: the open cache path.
        client_options: makes what aiokafka's consumer takes to reach Kafka.
        topics: where the events are.
        stop: ends it in good order.
        rebuild: begin with the newest snapshot, whatever the cache holds.
        source: the source, where a node has access to it.
        quarantine: is told what could not be applied.
        reached: set when the topic is read for the first time.
    """

    def __init__(
        self,
        writer: CacheWriter,
        client_options: Callable[[], dict[str, Any]],
        topics: Topics,
        stop: asyncio.Event,
        *,
        rebuild: bool = False,
        source: SourceAccess | None = None,
        quarantine: QuarantineTopic | None = None,
        reached: asyncio.Event | None = None,
    ) -> None:
        self._reached = reached
        self._writer = writer
        self._client_options = client_options
        self._topics = topics
        self._stop = stop
        self._way = Wayfinder(writer, client_options, topics, stop, source, rebuild=rebuild)
        self._quarantine = quarantine
        self._orders = writer.orders
        self._live = writer.live
        self._committing: asyncio.Task[None] | None = None
        self._events = 0
        self._streamed_rows = 0
        self._seen = Counters()
        """What was counted of this subscription so far."""
        self._before = 0
        """Rows that were loaded before the rebuild under way."""

    @property
    def consumed(self) -> Consumed:
        """What was done so far."""
        return Consumed(self._way.rows, self._events)

    async def follow(self, *, once: bool) -> None:
        """Applies the topic: for ever, or with ``once`` until what it held at the start is durable.

        Raises:
            OperatorError: with ``once``, when only a snapshot would help and there is none.
            KafkaUnavailableError: Kafka is away; calling again goes on where it stood.
            SourceUnavailableError: only the source could say how to go on, and it is away; likewise.
        """
        offset: int | None = await self._way.resume(once=once)
        while offset is not None and not self._stop.is_set():
            offset = await self._follow_from(offset, once=once)
            if offset is None and self._orders.rebuild_asked and not self._stop.is_set():
                offset = await self._load_as_asked()

    async def _follow_from(self, offset: int, *, once: bool) -> int | None:
        """Applies groups from an offset on; returns where to go on after another load, None at the end."""
        self._seen = Counters()
        options = self._client_options()
        async with Subscription(options, self._topics.events, self._writer.node, offset) as subscription:
            self._require_its_topic(subscription.topic_id)
            assembler = Assembler(self._writer.groups, offset, subscription.topic_id)
            if self._reached is not None:
                self._reached.set()
            try:
                stopped_by = await self._apply(subscription, assembler, offset, once=once)
                await self._settle()
                await self._commit_ready(assembler, even_idle=True)
                await self._settle()
            except UnsupportedVersionError:
                # Whole groups before it are as good as any.
                await self._settle()
                await self._writer.abandon()
                await self._commit_ready(assembler, even_idle=True)
                await self._settle()
                raise
            finally:
                await self._abandon()
                if self._quarantine is not None:
                    self._quarantine.tell(self._writer.unsaid)
                    await self._quarantine.finish()
            if (checkpoint := self._writer.checkpoint) is not None and checkpoint.offset is not None:
                await subscription.tell_group_now(checkpoint.offset)
        return None if stopped_by is None else await self._way.across(stopped_by, once=once)

    def _require_its_topic(self, topic_id: int | None) -> None:
        """The topic may have been made anew since it was found out where to read on in it."""
        checkpoint = self._writer.checkpoint
        if checkpoint is not None and not same_topic(checkpoint.topic_id, topic_id):
            raise TopicMadeAnewError(self._topics.events)

    async def _apply(
        self, subscription: Subscription, assembler: Assembler, offset: int, *, once: bool
    ) -> ChangeEvent | None:
        """Applies what comes; returns the event that cannot be passed, None at the end."""
        end = await subscription.end_offset()
        until = end if once else None
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        self._live.begin_topic(end)
        while not self._stop.is_set() and (until is None or offset < until):
            if self._orders.waiting:
                await self._attend(assembler)
                if self._orders.rebuild_asked:
                    return None
            records = await subscription.fetch()
            if records:
                offset = records[-1].offset + 1
                stopped_by = await self._feed(assembler, records)
                await self._look_at_astray(assembler, subscription)
                if stopped_by is None and offset >= end:
                    stopped_by = await self._goes_on_elsewhere(assembler, None if once else end)
                if stopped_by is not None:
                    return stopped_by
            elif until is not None:
                # Control records are never handed over, but stand in the topic.
                offset = max(offset, await subscription.position())
            ready = bool(self._writer.groups.ready)
            if ready or self._has_moved or loop.time() - idle_since > limits.IDLE_COMMIT_SECONDS:
                idle_since = loop.time()
                await self._commit_ready(assembler, even_idle=not ready)
            self._take_stock(assembler, offset, max(end, subscription.end_seen()))
            self._tell_others(subscription)
            if offset >= end:
                await self._tell_rebuilt()
        return None

    async def _goes_on_elsewhere(self, assembler: Assembler, begun: int | None) -> ChangeEvent | None:
        """The last group of the topic, where that shows that the topic never leads on from where we stand.

        Nobody goes on in an old life behind groups of a newer one: then the topic was begun anew. Where the
        cache was loaded from the source, the newer life may not have come to the topic yet; so there only
        a group that the source was read for since we read, from the topic's end at ``begun`` on, shows that
        it does not. Who reads once cannot wait for that.
        """
        if await self._way.is_lost(assembler, begun):
            return assembler.behind
        outdated = assembler.outdated
        if outdated is None:
            return None
        if self._writer.groups.between and begun is not None and not arrived_since(outdated, begun):
            return None
        return None if await self._strayed(assembler, outdated) else outdated

    async def _look_at_astray(self, assembler: Assembler, subscription: Subscription) -> None:
        """Finds out whether records of another topic are those of one that is gone, or the one we read is."""
        if assembler.counters.astray > self._seen.astray:
            await subscription.look_at_topic()

    @property
    def _has_moved(self) -> bool:
        """Whether whole groups led on that changed no row, a heartbeat of the source's log for example.

        The position is shown at once: somebody may wait for it.
        """
        head, checkpoint = self._writer.groups.head, self._writer.checkpoint
        return head is not None and checkpoint is not None and head.change_id != checkpoint.change_id

    async def _attend(self, assembler: Assembler) -> None:
        """Does what others ask for, at a checkpoint: what is whole is made durable before.

        While parts of a group are streamed there is none: its end comes first.
        """
        await self._settle()
        await self._commit_ready(assembler, even_idle=False)
        await self._settle()
        if not self._writer.groups.streamed:
            await self._orders.attend(self._stop)

    def _tell_others(self, subscription: Subscription) -> None:
        if self._quarantine is not None:
            self._quarantine.tell(self._writer.unsaid)
        if (checkpoint := self._writer.checkpoint) is not None and checkpoint.offset is not None:
            subscription.tell_group(checkpoint.offset)

    def _take_stock(self, assembler: Assembler, offset: int, end: int) -> None:
        counters, live = assembler.counters, self._live
        live.read_to(offset, end, assembler.offset)
        live.void += counters.void - self._seen.void
        live.foreign += counters.foreign - self._seen.foreign
        live.torn += counters.torn - self._seen.torn
        self._seen = msgspec.structs.replace(counters)

    async def _tell_rebuilt(self) -> None:
        rebuild = self._orders.rebuild
        if rebuild is None or not rebuild.begun:
            return
        await self._settle()
        if not self._writer.groups.ready:
            checkpoint = self._writer.checkpoint
            rebuild.succeed(
                None if checkpoint is None else checkpoint.position, self.consumed.rows - self._before
            )
            self._orders.rebuild = None

    async def _load_as_asked(self) -> int | None:
        """Loads everything since somebody asked for it; where that fails, goes on as before."""
        rebuild = self._orders.take_rebuild()
        checkpoint = self._writer.checkpoint
        if rebuild is None:
            return None if checkpoint is None else checkpoint.offset
        self._before = self.consumed.rows
        try:
            if rebuild.origin == "source":
                self._way.may_load_source = True
                offset = await self._way.load_from_source("told to rebuild")
                if offset is None:
                    raise OperatorError(
                        "this node has no source to load from", "run: cdc rebuild --from kafka"
                    )
            else:
                offset = await self._way.load_past(None, "told to rebuild", once=True)
        except CdcError as error:
            rebuild.fail(error)
            self._orders.rebuild = None
            if not isinstance(error, (OperatorError, KafkaUnavailableError)):
                raise
            return None if checkpoint is None else checkpoint.offset
        if self._orders.paused:
            # It will not catch up before it is resumed.
            await self._tell_rebuilt()
        return offset

    async def _feed(self, assembler: Assembler, records: list[ConsumerRecord]) -> ChangeEvent | None:
        """Takes in fetched records; returns the event that cannot be passed, if there is one."""
        iterator = iter(records)
        while True:
            interrupted = assembler.feed(iterator, self._writer.feed_rows_max)
            if interrupted is Interrupted.TAKE_BACK:
                await self._settle()
                await self._writer.applier.take_back()
                self._streamed_rows = 0
            elif interrupted in STOPS:
                event = assembler.stopped_by
                if event is None or interrupted is Interrupted.HOLE:
                    return event
                if interrupted is Interrupted.STRIDES and await self._way.leads_on(event):
                    self._writer.groups.prove(group_of(event))
                    iterator = iter([record for record in records if record.offset >= event.offset])
                    continue
                if not await self._strayed(assembler, event):
                    return event
            if interrupted is Interrupted.FULL and self._writer.gathered:
                await self._commit_ready(assembler, even_idle=False)
            if self._writer.burdened:
                await self._settle()
                await self._commit_ready(assembler, even_idle=False)
                await self._settle()
                self._streamed_rows += await self._writer.relieve()
            if interrupted is None:
                return None
            await asyncio.sleep(0)

    async def _strayed(self, assembler: Assembler, event: ChangeEvent) -> bool:
        """Whether a group of another history, or life, is in the topic that led here: it is passed over.

        A batch that was on its way to a topic that is gone can land in its successor, and count by chance
        where the broker tells no ids of topics (before Kafka 2.8).
        """
        await self._settle()
        await self._commit_ready(assembler, even_idle=True)
        await self._settle()
        checkpoint = self._writer.checkpoint
        if checkpoint is None or event.epoch > checkpoint.epoch or self._way.of_other_settings(event):
            return False
        async with TopicReader(self._client_options()) as reader:
            if not await still_leads_here(reader, self._topics, checkpoint):
                return False
        _log.warning(
            "passing over a group of another history", offset=event.offset, epoch=event.epoch, high=event.high
        )
        assembler.outdated = None
        return True

    async def _commit_ready(self, assembler: Assembler, *, even_idle: bool) -> None:
        """Starts a commit of what is whole. One runs at a time; what arrives meanwhile is the next one's."""
        groups = self._writer.groups
        head, checkpoint = groups.head, self._writer.checkpoint
        if head is None or checkpoint is None:
            return
        if groups.streamed:
            # The open transaction holds a part of a group: it may only be committed with that group's end.
            return
        offset, topic_id = checkpoint.offset, checkpoint.topic_id
        if assembler.proved:
            offset, topic_id = assembler.offset, assembler.topic_id
        has_read_on = (offset, topic_id) != (checkpoint.offset, checkpoint.topic_id)
        if not groups.ready and not (even_idle and has_read_on):
            return
        if self._committing is not None and not self._committing.done():
            if not self._writer.gathered and groups.ready.size_bytes < limits.COMMIT_BYTES_MAX:
                return
            await self._settle()
        await self._settle()
        batch = groups.take_ready()
        self._events += batch.rows + self._streamed_rows
        self._live.events += batch.rows + self._streamed_rows
        self._streamed_rows = 0
        commit = self._writer.commit(batch, head, offset, topic_id, between=groups.between)
        self._committing = asyncio.create_task(commit)

    async def _settle(self) -> None:
        """Waits for the commit under way, and raises what it raised."""
        if self._committing is not None:
            task, self._committing = self._committing, None
            await task

    async def _abandon(self) -> None:
        """Leaves nothing half done behind, whatever went wrong."""
        if self._committing is not None:
            # What it raised is either on its way out already, or met again by the next commit.
            await asyncio.gather(self._committing, return_exceptions=True)
        self._committing = None
        self._streamed_rows = 0
        await self._writer.reset()

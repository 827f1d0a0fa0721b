"""A topic as a publication: groups of counting records, and the snapshots that readers start from."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

import structlog
from aiokafka import AIOKafkaProducer
from msgspec import Raw

from cdc import limits
from cdc.capture.leases import TOPIC, Reader
from cdc.kafka.admin import ensure_topics
from cdc.kafka.chain import ChainEnd, a_group_ends_at, chain_end, holds, is_broken, life
from cdc.kafka.cleanup import delete_old_snapshots
from cdc.kafka.group_records import GroupRecords
from cdc.kafka.retention import Looks, read_standing, renewal_reason, topic_retention
from cdc.kafka.sender import DisplacedError, Sender, StrodeOverError
from cdc.kafka.snapshots import SnapshotWriter, write_changes, write_rows
from cdc.plan import as_new_as, log_head
from schemas.errors import OperatorError
from schemas.event import Head, Op, same_topic
from schemas.kafka_clients import connections_of, start_client, stop_client
from schemas.manifests import newest_snapshot
from schemas.progress import under_way
from schemas.snapshot import Announcement, Database, encode_announcement
from schemas.topics import TopicMadeAnewError, TopicReader, require_same_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cdc.capture import Change, LogState, SourceReader
    from cdc.kafka.snapshots import Written
    from schemas.codec import Encoding
    from schemas.kafka_properties import KafkaClients
    from schemas.manifests import FoundSnapshot
    from schemas.topics import Topics

_log = structlog.get_logger("cdc.kafka")


class KafkaPublication:
    """One life of a poller at a topic, from reading where its chain stands until something goes wrong.

    Use as ``async with``. Any error ends it: what had landed by then is known to the next life, which reads
    the topic's end anew. Every record carries ``writer``, the offset it is expected to land at and the topic
    it is meant for; nothing that lands elsewhere counts, for any reader (docs/design.md).

    Args:
        clients: how to reach Kafka.
        topics: where to publish.
        database_url: the source's URL without credentials, to recognise it by.
        encoding: of events; a snapshot's chunks and manifests are msgpack always.
    """

    def __init__(
        self,
        clients: KafkaClients,
        topics: Topics,
        database_url: str,
        encoding: Encoding = "msgpack",
        *,
        adopt: bool = False,
    ) -> None:
        self._adopt = adopt
        self._clients = clients
        self._topics = topics
        self._database_url = database_url
        self._encoding: Encoding = encoding
        self.log_reader = Reader(TOPIC, topics.events)
        """Under which name it has a lease on the source's log."""
        self.writer = secrets.randbits(63)
        """This life's name in its records."""
        self.written: Written | None = None
        """The last snapshot of this life that counts ..."""
        self.written_at: Head | None = None
        """... and where it stands."""
        self.tried: Head | None = None
        """Where the last group or snapshot leads to, whether or not it was acknowledged."""
        self._head: Head | None = None
        self._database: Database | None = None
        self._announced: Announcement | None = None
        self.needs_snapshot = False
        """The chain's epoch has no snapshot that a reader could start from."""
        self.renewal: str | None = None
        """Why a new snapshot is due although there is one: retention will soon reach what that one needs."""
        self.looks = Looks()
        """When `look_for_snapshot` is to be called."""
        self.beats = False
        """Whether to send heartbeats while a snapshot is written: others take over from a silent poller."""
        self._read_after = 0
        """Where the topic ended, as far as we know, when the source was last looked at."""
        self._uncleaned = False
        """Snapshots may have become old since the last `clean_up`."""
        self._broken = False
        """The topic was used, but nothing in it tells how far its readers came."""
        self._end = ChainEnd(None, 0)
        """Where the chain ended when this life began."""
        self._topic_id: int | None = None
        """Which topic of that name our records are meant for."""

    async def __aenter__(self) -> Self:
        await ensure_topics(self._clients.admin(), self._topics)
        self._producer = AIOKafkaProducer(
            **{"max_batch_size": limits.BATCH_BYTES, **self._clients.producer()},
            enable_idempotence=True,
            acks="all",
        )
        try:
            await start_client(self._producer)
            await self._recover()
        except BaseException:
            await stop_client(self._producer)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._sender.abandon()
        await stop_client(self._producer)

    def head(self) -> Head | None:
        """Where the next group must chain."""
        return self._head

    def source_is_looked_at(self) -> None:
        """Readers are told: what lies before our next record landed before this."""
        self._read_after = self._sender.next_offset or 0

    def covers(self, head: Head) -> bool:
        """Whether the chain leads to ``head`` or beyond, and has a snapshot to start from."""
        known = self._head
        if known is None or self.needs_snapshot:
            return False
        return life(known) == life(head) and known.change_id >= max(head.change_id, known.exact_at)

    def has_snapshot(self, written: Written) -> bool:
        """Whether the newest snapshot in Kafka is this one."""
        return self._announced is not None and self._announced.snapshot == written.snapshot

    def recognise(self, state: LogState) -> Head | None:
        """The head, unless the topic belongs to another database.

        Another id under the same URL is a database that was replaced: its log does not continue ours, and the
        poller begins a new epoch. Another URL is likely a mistake in the configuration, unless we are told to
        adopt the topic: then too a new epoch begins, above both.

        Raises:
            OperatorError: the topic's events are of a database elsewhere.
        """
        known = self._database
        if known is not None and known.id != state.database_id and known.url != self._database_url:
            if not self._adopt:
                raise OperatorError(
                    f"topic {self._topics.events} belongs to another database: {known.url}",
                    "give this source a topic of its own with --topic, or take this one over with --adopt",
                )
            self._take_over(known, state)
        if self._broken:
            # How far readers came, and in which life of the log, nobody can say: only a new epoch is safe.
            # This head is that of a log that is not the source's.
            self._broken = False
            # It must be above what a half group speaks of: who met that waits for no lower one.
            epoch = max(state.epoch, self._end.epoch_seen) if self._head is None else self._head.epoch
            self._head = Head(epoch, state.epoch_nonce ^ 1, change_id=0, nonce=0, exact_at=0)
        return self._head

    def _take_over(self, known: Database, state: LogState) -> None:
        """Stand, from now on, in a log that is not the source's, in the highest epoch that is known."""
        heads = (self._head, None if self._announced is None else self._announced.position)
        epoch = max([state.epoch, self._end.epoch_seen, *(head.epoch for head in heads if head is not None)])
        _log.warning(
            "taking over a topic of another database", topic=self._topics.events, was=known.url, epoch=epoch
        )
        self._head = Head(epoch, state.epoch_nonce ^ 1, change_id=0, nonce=0, exact_at=0)
        # Until it is loaded, nothing says whose the topic is; whoever dies before that has to be told again.
        self._database, self._broken = None, False

    def held(self) -> Mapping[str, int] | None:
        """The tables of the newest snapshot; None where it is of another life or other settings."""
        found, head = self._announced, self._head
        if found is None or head is None or life(found.position) != life(head):
            return None
        return {table.name: table.settings for table in found.tables}

    async def publish(
        self, head: Head, prev: int, pages: AsyncIterator[list[Change]], newest: Callable[[], LogState]
    ) -> int:
        """Publishes one whole group; when this returns it is acknowledged, and it counts."""
        self.tried = head
        if self._head is None or self._head.change_id != prev:
            raise RuntimeError("a group must begin where the chain stands")
        group = self._group(head, self._head)
        events = 0
        held: list[Change] = []
        async for page in pages:
            events += len(page)
            if held and page:
                await group.send(held, last=False)
            held = page or held
        head = as_new_as(head, newest())
        group.head = head
        if held:
            await group.send(held, last=True)
        else:
            await group.send_control(Op.HEARTBEAT)
        await self._sender.flush()
        self.looks.sent(group.sent_bytes)
        self._head = head
        return events

    async def heartbeat(self) -> None:
        """Publishes an empty group: shows that a poller works, and keeps a record in an idle topic."""
        if self._head is not None:
            await self._group(self._head, self._head).send_control(Op.HEARTBEAT)
            await self._sender.flush()

    async def say_goodbye(self) -> None:
        """Publishes an end record, so that a poller that stands by takes over at once."""
        if self._head is not None:
            await self._group(self._head, self._head).send_control(Op.END)
            await self._sender.flush()

    @property
    def wants_snapshot(self) -> bool:
        """Whether the next poll is to add a snapshot."""
        return self.needs_snapshot or self.renewal is not None

    async def look_for_snapshot(self, now_ms: int | None = None) -> None:
        """Looks whether readers have a snapshot to start from, and whether retention leaves it alone.

        ``now_ms``: Unix time, where nobody has written to the topic for long; else its own clock counts.
        """
        retention = await topic_retention(self._clients.admin(), self._topics.events)
        self.looks.looked(retention)
        async with TopicReader(self._clients.consumer()) as reader:
            found = await newest_snapshot(reader, self._topics)
            self._take_note(found)
            if found is not None and not self.needs_snapshot and self._leads_by_other_settings(found):
                # Who starts from it would first read what is not published any more. And a batch that was on
                # its way to a topic that is gone may have landed behind it, and never lead on from there.
                self.renewal = "what is published has changed since the newest one"
            elif found is not None and retention is not None and not self.needs_snapshot:
                sized = retention.bytes is not None
                standing = await read_standing(reader, self._topics.events, found, now_ms, sized=sized)
                self.renewal = renewal_reason(standing, retention)
        self._uncleaned = True

    async def clean_up(self) -> None:
        """Deletes the chunks of old snapshots, where there may be any."""
        if self._uncleaned:
            self._uncleaned = False
            await delete_old_snapshots(self._clients.consumer(), self._clients.admin(), self._topics)

    async def load(self, reader: SourceReader, state: LogState, reason: str) -> int:
        """Begins a chain where the reader settles, with a snapshot and its announcement."""
        _log.info("publishing a snapshot", reason=reason, epoch=state.epoch, change_id=state.high)
        self.tried = log_head(state, reader.settings)
        return await self._publish_snapshot(reader, None)

    async def snapshot(self, reader: SourceReader, state: LogState) -> int:
        """Adds a snapshot; what it holds beyond the chain is published as a group first."""
        if self._head is None or self._head.change_id < state.high:
            raise RuntimeError("a snapshot must not be ahead of the chain")
        reason = self.renewal or ("there is none to start from" if self.needs_snapshot else "asked for")
        _log.info("publishing a snapshot", reason=reason, epoch=state.epoch, change_id=state.high)
        self.tried = self._head
        return await self._publish_snapshot(reader, self._head)

    async def _publish_snapshot(self, reader: SourceReader, chain: Head | None) -> int:
        # Everything that landed up to here is at most as new as the rows: a reader goes on from this offset.
        from_offset = self._sender.next_offset or 0
        ours = self._sender.last_offset
        stands = (self._end.offset, self._end.writer) if ours is None else (ours, self.writer)
        chunks = SnapshotWriter(self._producer, self._topics.snapshots)
        tables = reader.tables()
        # Where the chain was there before, others may go on with it meanwhile.
        goes_on = chain is not None
        # The snapshot before is as good an estimate as there is; counting would read every row once more.
        expected = None if self._announced is None else self._announced.rows or None
        with under_way("publishing a snapshot", lambda: chunks.rows, expected):
            written = await write_rows(chunks, reader, self.heartbeat if self.beats and goes_on else None)
        state = reader.settled
        if chain is not None and chain.change_id < state.high:
            # Read in several moments, the snapshot ended ahead of the chain, which must lead to it.
            for tries_left in reversed(range(limits.ANNOUNCEMENTS_MAX)):
                try:
                    await self._lead_on(reader, state, stands, from_offset)
                    break
                except StrodeOverError:
                    if not tries_left:
                        raise
                # What changed since is little beside the whole.
                written = await write_changes(chunks, reader)
                state = reader.settled
        chain = log_head(state, reader.settings)
        announcement = Announcement(
            snapshot=written.snapshot,
            position=log_head(state, reader.settings),
            from_offset=from_offset,
            first_offset=written.first_offset,
            last_offset=written.last_offset,
            chunks=written.chunks,
            rows=written.rows,
            tables=tuple(tables.values()),
            database=Database(id=state.database_id, url=self._database_url),
        )
        after = Raw(encode_announcement(announcement))
        for tries_left in reversed(range(limits.ANNOUNCEMENTS_MAX if goes_on else 1)):
            if goes_on:
                chain = await self._chain_now(log_head(state, reader.settings), stands, state.high)
            try:
                # The manifest comes first: then the snapshot is there with the one record that announces it.
                # If another record lands at that offset, or none since we die here, it points at nothing.
                await chunks.write_manifest(self._sender.next_offset or 0)
                await self._group(chain, chain).send_control(Op.SNAPSHOT, after)
                await self._sender.flush()
            except DisplacedError:
                if not tries_left:
                    raise
            else:
                break
        self._head = chain
        self._database = announcement.database
        self._announced = announcement
        self.needs_snapshot, self.renewal = False, None
        self.written, self.written_at = written, announcement.position
        _log.info("published a snapshot", rows=written.rows, chunks=written.chunks, position=state.high)
        self._uncleaned = True
        return written.rows

    async def _lead_on(
        self, reader: SourceReader, state: LogState, stood: tuple[int, int | None], from_offset: int
    ) -> None:
        """Publishes what leads the chain to ``state``, unless a running poller has led it there meanwhile.

        It has to have ended a group there: whoever starts from the snapshot cannot apply one that begins
        before its end, and is never led on.
        """
        wanted = log_head(state, reader.settings)
        for tries_left in reversed(range(limits.ANNOUNCEMENTS_MAX)):
            head = await self._chain_now(wanted, stood)
            if head.change_id >= state.high:
                async with TopicReader(self._clients.consumer()) as topic_reader:
                    if await a_group_ends_at(topic_reader, self._topics.events, from_offset, wanted):
                        return
                raise StrodeOverError("another poller published beyond the snapshot's end in one group")
            try:
                async with aclosing(reader.changes(head.change_id, state.high)) as pages:
                    await self.publish(wanted, head.change_id, pages, lambda: reader.newest)
            except DisplacedError:
                if not tries_left:
                    raise
            else:
                return

    def _group(self, head: Head, prev: Head) -> GroupRecords:
        return GroupRecords(
            self._sender, self._encoding, self.writer, head, prev, self._read_after, self._topic_id
        )

    async def _chain_now(self, wanted: Head, stood: tuple[int, int | None], least: int = 0) -> Head:
        """Where the chain stands after chunks were written: a running poller went on with it meanwhile.

        It must be of the life of ``wanted``, and lead to ``least``.
        ``stood`` is the record that it ended with before, as offset and writer. In a topic that was deleted
        and made anew meanwhile the snapshot's ``from_offset`` would mean nothing, or lie behind its end.
        """
        topic = self._topics.events
        async with TopicReader(self._clients.consumer()) as reader:
            end = await chain_end(reader, topic)
            same = stood == (end.offset, end.writer) or await holds(reader, topic, *stood)
        head = end.head
        if not same_topic(end.topic_id, self._topic_id):
            raise TopicMadeAnewError(topic)
        if not same or head is None or life(head) != life(wanted) or head.change_id < least:
            raise DisplacedError(f"topic {topic} does not lead to the snapshot any more")
        self._sender.abandon()
        self._sender = Sender(self._producer, self._topics.events, end.end_offset)
        # Together with the sender: a goodbye says where the chain stands there.
        self._head = head
        return head

    async def look_at_topic(self) -> None:
        """Makes sure that what was acknowledged landed in the topic that it was meant for.

        Raises:
            TopicMadeAnewError: it was deleted and made anew since this life began: in its successor nothing
                of ours counts, even where it lands at the offset it expects.
            TopicGoneError: there is none.
            KafkaUnavailableError: Kafka does not answer.
        """
        await require_same_topic(connections_of(self._producer), self._topics.events, self._topic_id)

    async def _recover(self) -> None:
        async with TopicReader(self._clients.consumer()) as reader:
            end = await chain_end(reader, self._topics.events)
            found = await newest_snapshot(reader, self._topics)
        self._head = end.head
        self._end, self._broken, self._topic_id = end, is_broken(end, found), end.topic_id
        self._sender = Sender(self._producer, self._topics.events, end.end_offset)
        self._take_note(found)
        _log.info(
            "took up the chain",
            topic=self._topics.events,
            offset=end.end_offset,
            position=None if end.head is None else str(end.head.position),
            broken=self._broken,
        )

    def _take_note(self, found: FoundSnapshot | None) -> None:
        if found is not None:
            self._database = found.announcement.database
            self._announced = found.announcement
        epoch = None if found is None else found.announcement.position.epoch
        self.needs_snapshot = self._head is not None and epoch != self._head.epoch

    def _leads_by_other_settings(self, found: FoundSnapshot) -> bool:
        return self._head is not None and found.announcement.position.settings != self._head.settings

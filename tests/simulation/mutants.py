"""Wrong versions of the shipped logic, each of which the simulation must find.

A mutant is a function that puts its mistake in place by name; what it breaks is its docstring.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

import cdc.capture.prune
import cdc.capture.prune_plan
import cdc.embedded
import cdc.kafka.chain
import cdc.kafka.publication
import cdc.kafka.standby
import cdc.plan
import cdc.poller
import cdc.upkeep
import consumers.assembler
import consumers.bootstrap
import consumers.bounded
import consumers.eviction
import consumers.groups
import consumers.node
import consumers.wayfinder
import consumers.writer
import schemas.manifests
import schemas.topics
from cdc import limits
from cdc.capture import leases as capture_leases
from cdc.capture import log as capture_log
from cdc.capture import reader as capture_reader
from cdc.capture.bounded import Carried, Following, Newest, Refill
from cdc.capture.moments import Moments
from cdc.capture.piecewise import PiecewiseReader
from cdc.kafka.chain import ChainEnd
from cdc.kafka.publication import KafkaPublication
from cdc.kafka.retention import Looks
from cdc.kafka.sender import Sender
from cdc.plan import Changes, Load
from consumers.applier import Applier
from consumers.assembler import Assembler
from consumers.batch import Batch
from consumers.bounded import Writing
from consumers.eviction import Eviction
from consumers.groups import Groups, Verdict
from consumers.meta import checkpoint_meta
from consumers.node import KafkaNode
from consumers.rebuild import Loading
from consumers.store import Store
from consumers.subscription import Subscription
from consumers.writer import CacheWriter
from schemas.codec import decode_event, encode_event
from schemas.event import Op
from schemas.parts import Joiner
from schemas.snapshot import Announcement, decode_announcement
from tests.simulation import leases, source
from tests.simulation.kafka import Record, SimProducer
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Put = Any
MUTANTS: dict[str, Callable[[Put], None]] = {}


def mutant(make: Callable[[Put], None]) -> Callable[[Put], None]:
    MUTANTS[make.__name__] = make
    return make


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """Puts a mutant in place; inside `seams.simulated`."""
    with contextlib.ExitStack() as stack:
        make = MUTANTS[name]
        make(lambda where, what, value: stack.enter_context(mock.patch.object(where, what, value)))
        yield


def _replace(struct: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(struct, **changes)


# What a reader does with a group.


@mutant
def groups_without_a_look_at_prev(put: Put) -> None:
    """A group is applied across a hole."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda *a, **kw: _unless(judge(*a, **kw), Verdict.HOLE))


@mutant
def groups_applied_again(put: Put) -> None:
    """What the cache is past already is applied once more."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda *a, **kw: _unless(judge(*a, **kw), Verdict.SKIP))


@mutant
def groups_of_any_epoch(put: Put) -> None:
    """Epochs are ignored: a new one is taken for a continuation."""
    judge = consumers.groups.judge

    def blind(head: Any, group: Any, **options: bool) -> Verdict:
        if head is not None:
            group = _replace(group, epoch=head.epoch, epoch_nonce=head.epoch_nonce)
        return judge(head, group, **options)

    put(consumers.groups, "judge", blind)


@mutant
def old_epochs_applied(put: Put) -> None:
    """Groups of a life that is over are applied."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda *a, **kw: _unless(judge(*a, **kw), Verdict.OLD_EPOCH))


@mutant
def groups_overlap_at_any_time(put: Put) -> None:
    """A group may begin before the position, wherever that comes from (the plan)."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda head, group, **_: _applied(judge(head, group, between=True)))


@mutant
def groups_begin_at_the_head_also_after_a_load(put: Put) -> None:
    """A cache that was loaded from the source waits for a group that begins just there."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda head, group, **_: judge(head, group))


@mutant
def groups_stride_unproved(put: Put) -> None:
    """A cache that was loaded from the source is taken to be of the topic's history (as first written)."""
    judge = consumers.groups.judge
    put(consumers.groups, "judge", lambda *a, **kw: _applied(judge(*a, **kw)))


@mutant
def source_asked_for_the_caches_row_alone(put: Put) -> None:
    """That the log has the row a cache stands on is taken for a proof (a second backup may be restored)."""

    async def has_rows(transaction: Any, rows: Any) -> bool:
        return await capture_log.has_rows(transaction, rows[:1])

    put(cdc.embedded, "has_rows", has_rows)


def _applied(verdict: Verdict) -> Verdict:
    return _unless(verdict, Verdict.STRIDES)


def _unless(verdict: Verdict, ignored: Verdict) -> Verdict:
    return Verdict.APPLY if verdict is ignored else verdict


@mutant
def truncation_ignored(put: Put) -> None:
    """Rows that a re-read table no longer has live on."""

    def keep(self: Groups, table: str, definition: Any) -> None:
        self._batch.truncated.pop(table, definition)

    put(Groups, "truncate", keep)


@mutant
def quarantined_rows_stay(put: Put) -> None:
    """A row that can no longer be published stays as it was."""
    original = Groups.put

    def lazy(self: Groups, op: str, table: str, key: bytes, row: bytes, change_id: int, ts_ms: int) -> None:
        if op == Op.QUARANTINED:
            self._mark(table, key, change_id, ts_ms)
        else:
            original(self, op, table, key, row, change_id, ts_ms)

    put(Groups, "put", lazy)


@mutant
def quarantine_marks_forgotten_at_start(put: Put) -> None:
    """A restarted node does not lift the marks that it set before."""
    put(
        consumers.writer,
        "Groups",
        lambda head, _=None, definitions=None, **options: Groups(head, None, definitions or {}, **options),
    )


# From records to groups.


@mutant
def records_count_wherever_they_land(put: Put) -> None:
    """Nodes count records that landed at another offset than their own."""
    feed = Assembler.feed

    def believing(self: Assembler, records: Any, limit: int) -> Any:
        return feed(self, (_at_home(record) for record in records), limit)

    put(Assembler, "feed", believing)


def _at_home(record: Record) -> Record:
    event = decode_event(record.value or b"")
    return record._replace(value=encode_event(_replace(event, offset=record.offset)))


@mutant
def groups_go_on_across_another_writers_record(put: Put) -> None:
    """Records of whoever comes next are taken for the rest of a group that was cut short."""
    begin = Assembler._begin

    def patient(self: Assembler, event: Any) -> Any:
        return None if self._running else begin(self, event)

    put(Assembler, "_begin", patient)
    put(Assembler, "_continue", lambda *_: None)


@mutant
def parts_of_two_writers_are_joined(put: Put) -> None:
    """What a group that was cut short held of a row becomes the beginning of the next one's."""
    abandon_open, add = Assembler._abandon_open, Joiner.add

    def keeping(self: Assembler) -> bool:
        kept, self._joiner = self._joiner, Joiner()
        took = abandon_open(self)
        self._joiner = kept
        return took

    def any_part(self: Joiner, part: int, parts: int, piece: Any) -> bool:
        self._next, self._parts = part, parts
        return add(self, part, parts, piece)

    put(Assembler, "_abandon_open", keeping)
    put(Joiner, "add", any_part)


@mutant
def last_part_of_a_row_forgotten(put: Put) -> None:
    """A row is taken for whole one part too early."""
    add = Joiner.add

    def hasty(self: Joiner, part: int, parts: int, piece: Any) -> bool:
        if parts < 3:
            return add(self, part, parts, piece)
        if part == parts - 1:
            return False
        whole = add(self, part, parts, piece)
        return whole or part == parts - 2

    put(Joiner, "add", hasty)


@mutant
def older_lives_ignored_for_ever(put: Put) -> None:
    """A topic that was begun anew in an older life is not noticed."""
    begin = Assembler._begin

    def deaf(self: Assembler, event: Any) -> Any:
        interrupted = begin(self, event)
        self.outdated = None
        return interrupted

    put(Assembler, "_begin", deaf)


@mutant
def dead_parts_not_taken_back(put: Put) -> None:
    """What was streamed of a group that died is committed with the next one."""

    async def nothing(self: Applier) -> None:
        assert self

    put(Applier, "take_back", nothing)


@mutant
def dead_parts_before_a_hole_not_taken_back(put: Put) -> None:
    """The same, where what ends the group is a hole or a new epoch (the code as it was first written)."""
    begin = Assembler._begin

    def hasty(self: Assembler, event: Any) -> Any:
        interrupted = begin(self, event)
        stopping, self._stopping = self._stopping, None
        return stopping or interrupted

    put(Assembler, "_begin", hasty)


@mutant
def whole_streamed_groups_taken_back(put: Put) -> None:
    """Before a hole everything streamed is taken back, though its group may be whole (a first repair)."""
    feed = KafkaNode._feed

    async def rash(self: KafkaNode, assembler: Assembler, records: Any) -> Any:
        stopped_by = await feed(self, assembler, records)
        if stopped_by is not None:
            await self._settle()
            await self._writer.applier.take_back()
        return stopped_by

    put(KafkaNode, "_feed", rash)


# What is committed.


@mutant
def half_groups_committed_when_idle(put: Put) -> None:
    """A commit of the position takes streamed parts of the open group along (the code as first written)."""
    commit_ready = KafkaNode._commit_ready

    async def careless(self: KafkaNode, assembler: Assembler, *, even_idle: bool) -> None:
        groups = self._writer.groups
        streamed, groups.streamed = groups.streamed, False
        try:
            await commit_ready(self, assembler, even_idle=even_idle)
        finally:
            groups.streamed = streamed

    put(KafkaNode, "_commit_ready", careless)


@mutant
def rows_join_before_the_group_ends(put: Put) -> None:
    """Rows of a group that is not whole yet are committed with the one before."""

    def early(self: Groups) -> Batch:
        batch, self.ready = self.ready, Batch()
        if self.open is not None:
            batch.absorb(self.open)
            self.open = Batch()
        return batch

    put(Groups, "take_ready", early)


@mutant
def checkpoint_before_rows(put: Put) -> None:
    """The checkpoint is durable an instant before its rows."""
    commit = Store.commit

    def early(self: Store, batch: Batch, checkpoint: Any) -> None:
        if self._writing is None:
            self.database.apply({}, checkpoint_meta(checkpoint))
        commit(self, batch, checkpoint)

    put(Store, "commit", early)


@mutant
def rows_before_checkpoint(put: Put) -> None:
    """Rows are durable an instant before their checkpoint."""
    commit = Store.commit

    def early(self: Store, batch: Batch, checkpoint: Any) -> None:
        if self._writing is None and not batch.truncated:
            self.database.apply(batch.ops, {})
        commit(self, batch, checkpoint)

    put(Store, "commit", early)


@mutant
def streamed_parts_are_visible(put: Put) -> None:
    """Parts of a big group are committed as they come."""
    stream = Store.stream

    def open_handed(self: Store, batch: Batch) -> None:
        stream(self, batch)
        assert self._writing is not None
        writing, self._writing = self._writing, None
        writing.transaction.commit()
        self._layout = writing.layout

    put(Store, "stream", open_handed)


@mutant
def offset_ahead_of_rows(put: Put) -> None:
    """The stored offset is that of the newest record seen, and is believed at the start."""
    commit = CacheWriter.commit

    async def ahead(
        self: CacheWriter,
        batch: Batch,
        head: Any,
        offset: int | None,
        topic_id: Any,
        *,
        between: bool = False,
    ) -> None:
        await commit(self, batch, head, None if offset is None else offset + 1, topic_id, between=between)

    async def stored(reader: Any, topics: Any, checkpoint: Any) -> int:
        start, stop = await reader.bounds(topics.events)
        return min(max(start, checkpoint.offset or 0), stop)

    put(CacheWriter, "commit", ahead)
    put(consumers.wayfinder, "resume_offset", stored)


@mutant
def stored_offset_believed(put: Put) -> None:
    """A node reads on at its offset, whichever topic that is now."""

    async def believe(*_: Any) -> bool:
        return True

    put(consumers.bootstrap, "_proves", believe)
    put(consumers.bootstrap, "same_topic", lambda *_: True)


# Loads.


@mutant
def loaded_file_shown_before_it_is_whole(put: Put) -> None:
    """The file takes its place before the checkpoint is in it."""
    finish = Loading._finish

    def hasty(self: Loading, checkpoint: Any) -> None:
        assert self._transaction is not None
        self._transaction.commit()
        self._temporary.rename(self._path)
        self._temporary = self._path
        assert self._store is not None
        self._transaction = self._store.database.begin()
        with mock.patch.object(type(self._temporary), "rename"):
            finish(self, checkpoint)

    put(Loading, "_finish", hasty)


@mutant
def chunks_of_any_snapshot(put: Put) -> None:
    """Chunks of another snapshot between ours are taken for ours."""
    load, decode = consumers.bootstrap.load_snapshot, consumers.bootstrap.decode_packed_chunk
    wanted: list[Any] = []

    async def remember(reader: Any, topics: Any, found: Any, writer: Any) -> int:
        wanted[:] = [found.announcement.snapshot, 0]
        return await load(reader, topics, _replace_rows(found), writer)

    def any_chunk(data: bytes) -> Any:
        chunk = _replace(decode(data), snapshot=wanted[0], index=wanted[1])
        wanted[1] += 1
        return chunk

    put(consumers.wayfinder, "load_snapshot", remember)
    put(consumers.bootstrap, "decode_packed_chunk", any_chunk)


def _replace_rows(found: Any) -> Any:
    class Whatever(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    announcement = _replace(found.announcement, chunks=Whatever(), rows=Whatever())
    return _replace(found, announcement=announcement)


@mutant
def manifests_believed_without_their_announcement(put: Put) -> None:
    """A manifest ahead of the topic: what it points at did not land there, or does not count."""

    async def believe(reader: Any, topics: Any, manifest: Any) -> Announcement | None:
        start, stop = await reader.bounds(topics.events)
        async for record in reader.backwards(topics.events, start, stop, window=16, window_max=64):
            event = decode_event(record.value or b"")
            if event.op == Op.SNAPSHOT:
                announcement = decode_announcement(event.after)
                if announcement.snapshot == manifest.snapshot:
                    return announcement
        return None

    put(schemas.manifests, "_announcement", believe)


@mutant
def snapshots_read_on_too_late(put: Put) -> None:
    """Whoever loaded a snapshot reads on behind the first group after it."""

    def late(**fields: Any) -> Announcement:
        return Announcement(**{**fields, "from_offset": fields["from_offset"] + 2})

    put(cdc.kafka.publication, "Announcement", late)


@mutant
def no_snapshot_after_retention(put: Put) -> None:
    """Nobody looks again whether the snapshot's announcement is still there (the code as first written)."""
    put(limits, "SNAPSHOT_LOOK_SECONDS", 1e9)
    put(Looks, "looked", lambda self, _: setattr(self, "seconds", 1e9))


# The poller.


@mutant
def poller_counts_any_record(put: Put) -> None:
    """A poller goes on from a group that did not land where it should."""

    async def any_record(reader: Any, topic: str) -> ChainEnd:
        start, stop = await reader.bounds(topic)
        async for record in reader.backwards(topic, start, stop, window=4, window_max=16):
            event = decode_event(record.value or b"")
            if event.last:
                return ChainEnd(event.head, stop, event.writer, topic_id=reader.topic_id(topic))
        return ChainEnd(None, stop, topic_id=reader.topic_id(topic))

    put(cdc.kafka.publication, "chain_end", any_record)


@mutant
def poller_counts_half_groups(put: Put) -> None:
    """A poller goes on from the last record that counts, whether or not its group is whole."""

    async def any_part(reader: Any, topic: str) -> ChainEnd:
        start, stop = await reader.bounds(topic)
        async for record in reader.backwards(topic, start, stop, window=4, window_max=16):
            event = reader.event_of(record)
            if event is not None:
                return ChainEnd(event.head, stop, event.writer, topic_id=reader.topic_id(topic))
        return ChainEnd(None, stop, topic_id=reader.topic_id(topic))

    put(cdc.kafka.publication, "chain_end", any_part)


@mutant
def poller_goes_on_after_another_offset(put: Put) -> None:
    """A poller whose records landed elsewhere goes on as if they counted."""

    async def blind(self: Sender) -> None:
        future, _, count = self._in_flight.popleft()
        self.last_offset = (await future).offset + count - 1

    put(Sender, "_await_oldest", blind)


@mutant
def node_reads_on_in_a_topic_that_is_gone(put: Put) -> None:
    """A node passes over records of another topic, and does not look which of the two it reads."""
    put(Subscription, "look_at_topic", _look_at_nothing)


async def _look_at_nothing(_: Any) -> None:
    await asyncio.sleep(0)


@mutant
def producer_not_idempotent(put: Put) -> None:
    """Batches land twice, and later ones without earlier ones."""
    put(
        cdc.kafka.publication,
        "AIOKafkaProducer",
        lambda **options: SimProducer(**{**options, "enable_idempotence": False}),
    )


@mutant
def standby_for_ever(put: Put) -> None:
    """A poller that stands by waits for a goodbye that a killed one never says."""
    put(limits, "STANDBY_SILENCE_SECONDS", 1e9)


@mutant
def deleted_topic_waited_for(put: Put) -> None:
    """A poller that stands by takes a deleted topic for a broker away (the code as first written)."""

    class NeverError(Exception):
        pass

    put(cdc.kafka.standby, "TopicGoneError", NeverError)


# The log.


@mutant
def lives_told_by_their_number_alone(put: Put) -> None:
    """Neither the epoch's nonce nor that of the log's row is looked at: another database passes for ours."""
    plan = cdc.plan.plan_poll

    def blind(head: Any, state: Any) -> Any:
        if head is not None and head.epoch == state.epoch:
            head = _replace(head, epoch_nonce=state.epoch_nonce)
            if head.change_id <= state.high:
                state = _replace(state, prev_nonce=head.nonce, exact_nonce=head.exact_nonce)
        return plan(head, state)

    put(cdc.poller, "plan_poll", blind)


@mutant
def log_nonce_ignored(put: Put) -> None:
    """A restored log that grew past our position again is taken for a continuation."""
    plan = cdc.plan.plan_poll

    def blind(head: Any, state: Any) -> Any:
        if head is not None and head.change_id <= state.high:
            state = _replace(state, prev_nonce=head.nonce, exact_nonce=head.exact_nonce)
        return plan(head, state)

    put(cdc.poller, "plan_poll", blind)


@mutant
def pruned_log_condemned(put: Put) -> None:
    """A reader behind the log's beginning begins a new epoch instead of loading."""
    plan = cdc.plan.plan_poll
    put(cdc.poller, "plan_poll", lambda head, state: plan(head, _replace(state, pruned_to=0)))


@mutant
def reader_on_the_pruned_row_looks_again_for_ever(put: Put) -> None:
    """The limit of pruning is off by one (the code as first written)."""
    plan = cdc.plan.plan_poll

    def off_by_one(head: Any, state: Any) -> Any:
        return plan(head, _replace(state, pruned_to=state.pruned_to - 1))

    put(cdc.poller, "plan_poll", off_by_one)


@mutant
def new_epoch_without_a_load(put: Put) -> None:
    """A new epoch begins with the changes in its log, not with every row."""
    plan = cdc.plan.plan_poll

    def thrifty(head: Any, state: Any) -> Any:
        planned = plan(head, state)
        if isinstance(planned, Load) and head is not None and not state.pruned_to:
            return Changes(prev=0, high=state.high)
        return planned

    put(cdc.poller, "plan_poll", thrifty)


@mutant
def epoch_minted_without_a_second_look(put: Put) -> None:
    """Every poller that finds fault mints, though another one has done so meanwhile."""

    async def hasty(transaction: Any, above: int, seen: Any) -> bool:
        state = await capture_log.read_state(transaction, seen and seen.change_id)
        await capture_log.mint(transaction, max(state.epoch, above) + 1)
        return True

    put(capture_log, "mint_unless_healthy", hasty)


@mutant
def epoch_not_above_the_topics(put: Put) -> None:
    """A new epoch counts on from the source's, whatever the topic has seen."""

    async def modest(transaction: Any, above: int, seen: Any) -> bool:
        state = await capture_log.read_state(transaction, seen and seen.change_id)
        assert above >= 0
        if seen is not None and await capture_log._continues(transaction, state, seen):
            return False
        await capture_log.mint(transaction, state.epoch + 1)
        return True

    put(capture_log, "mint_unless_healthy", modest)


@mutant
def broken_log_never_minted(put: Put) -> None:
    """A log with a hole asks for an epoch above 0, which it is already (the code as first written)."""
    mint = capture_log.mint_unless_healthy

    async def as_it_was(transaction: Any, above: int, seen: Any) -> bool:
        return await mint(transaction, above if seen is not None else 0, seen)

    put(capture_log, "mint_unless_healthy", as_it_was)


@mutant
def holes_in_the_log_unseen(put: Put) -> None:
    """Ids missing in a range are not noticed."""
    batch = source.SimTransaction.batch

    async def padded(self: Any, statements: Any) -> Any:
        results = await batch(self, statements)
        if statements[0].sql is capture_reader._RANGE_SQL:
            prev, high = statements[0].args
            missing = high - prev - sum(row[1] for row in results[0].rows)
            results[0].rows.append((-1, missing, None, 0))
        return results

    put(source.SimTransaction, "batch", padded)


@mutant
def rows_read_outside_the_logs_snapshot(put: Put) -> None:
    """Rows are read later than the log: they are newer than the position says."""

    class Live(source.SimTransaction):
        async def pages(self, sql: Any, args: Any, encode: Any) -> Any:
            if self.source.now.schema == self.contents.schema:
                self.contents = _replace(self.source.now, log=self.contents.log)
            async for page in super().pages(sql, args, encode):
                yield page

    put(World, "read_transaction", lambda _, one, contents: Live(one, contents))


@mutant
def reread_forgotten(put: Put) -> None:
    """Triggers are made again without a log row of op t: what happened meanwhile is never seen."""
    install = source.install_tables

    def forgetful(one: Any, contents: Any, registered: Any, triggers: Any) -> None:
        log, next_id = contents.log, contents.next_id
        install(one, contents, registered, triggers)
        if log:
            contents.log, contents.next_id = log, next_id

    put(source, "install_tables", forgetful)


@mutant
def emptied_topic_goes_on_in_its_epoch(put: Put) -> None:
    """A topic without a whole group begins again in the same life (the code as first written)."""
    take_note = KafkaPublication._take_note

    def trusting(self: KafkaPublication, found: Any) -> None:
        take_note(self, found)
        self._broken = False

    put(KafkaPublication, "_take_note", trusting)


@mutant
def begun_anew_unnoticed(put: Put) -> None:
    """Nodes go on in a topic that is not the one they knew (the code as first written)."""

    async def never(*_: Any) -> bool:
        return False

    async def further_back(reader: Any, topics: Any, checkpoint: Any) -> int:
        start, stop = await reader.bounds(topics.events)
        offset = checkpoint.offset
        if offset is None or not start < offset <= stop:
            return start
        proved = await consumers.bootstrap._proves(reader, topics, offset - 1, checkpoint)
        return offset if proved else start

    put(consumers.wayfinder, "begun_anew", never)
    put(consumers.wayfinder, "resume_offset", further_back)


@mutant
def all_take_over_at_a_goodbye(put: Put) -> None:
    """Pollers that stand by displace each other for ever (the code as first written)."""
    put(limits, "STANDBY_LOOK_SECONDS", 0.0)


# Leases and pruning.


def _heedless(put: Put) -> None:
    put(cdc.capture.prune, "ADVANCE_SQL", leases.UNGUARDED)
    put(cdc.capture.prune, "DELETE_SQL", leases.UNGUARDED_DELETE)


@mutant
def pruned_past_a_lease(put: Put) -> None:
    """Only the retention decides what is pruned."""
    plan = cdc.capture.prune_plan.plan_prune
    _heedless(put)
    put(cdc.capture.prune, "ceiling", lambda _, bounds: bounds.newest or 0)
    put(cdc.capture.prune, "plan_prune", lambda _, bounds, young: plan([], bounds, young))


@mutant
def leases_looked_at_only_once(put: Put) -> None:
    """A lease that is written between the plan and the delete is not seen."""
    _heedless(put)


@mutant
def newest_row_pruned(put: Put) -> None:
    """The newest row goes like any other: ids would be given again."""
    plan = cdc.capture.prune_plan.plan_prune
    _heedless(put)

    def greedy(held: Any, bounds: Any, young: Any) -> Any:
        planned = plan(held, bounds, young)
        all_old = planned.held_by == "newest row" and bounds.newest is not None
        return _replace(planned, to=bounds.newest) if all_old else planned

    put(cdc.capture.prune, "plan_prune", greedy)


@mutant
def lease_written_after_the_load(put: Put) -> None:
    """A load begins, and what follows it in the log is anybody's."""

    async def always(*_: Any) -> bool:
        return True

    put(capture_reader, "is_held", always)


@mutant
def lease_ahead_of_the_cache(put: Put) -> None:
    """A lease says what was read of the log, not what is durable."""

    async def hasty(client: Any, reader: Any, head: Any) -> None:
        newest = client.now.log[-1].change_id if client.now.log else head.change_id
        await capture_leases.renew(client, reader, _replace(head, change_id=max(head.change_id, newest)))

    put(cdc.upkeep, "renew", hasty)


# What is published.


@mutant
def changed_settings_reach_new_rows_only(put: Put) -> None:
    """What is published changes, and nothing is read anew."""
    put(cdc.poller, "plan_reread", lambda *_: frozenset())


@mutant
def changed_settings_seen_by_table_names_alone(put: Put) -> None:
    """Only tables that join or leave are read anew (the code as first written)."""

    def by_name(captured: Any, known: Any, held: Any) -> frozenset[str]:
        return frozenset(captured) ^ frozenset(known if held is None else held)

    put(cdc.poller, "plan_reread", by_name)


@mutant
def any_snapshot_tells_what_readers_hold(put: Put) -> None:
    """The newest snapshot is asked though the chain went on by other settings."""
    put(
        KafkaPublication,
        "held",
        lambda self: self._announced and {table.name: table.settings for table in self._announced.tables},
    )


@mutant
def settings_forgotten_between_polls(put: Put) -> None:
    """A poller that takes over does not know by which settings the chain was published."""
    head = KafkaPublication.head

    def own(self: KafkaPublication) -> Any:
        known = head(self)
        return known and _replace(known, settings=0)

    put(KafkaPublication, "head", own)
    put(KafkaPublication, "recognise", lambda self, _: own(self))


# Bounded tables.


@mutant
def no_refill(put: Put) -> None:
    """Rows that take the place of others among the newest are not carried."""
    put(Refill, "query", lambda _: None)


@mutant
def refill_for_deletes_only(put: Put) -> None:
    """A row that was written anew and is not among the newest any more makes room for nobody."""
    see = Refill.see
    put(Refill, "see", lambda self, page: see(self, [one for one in page if one[0] == Op.DELETE]))


@mutant
def refill_from_a_later_read(put: Put) -> None:
    """Rows that take the place of others, and what follows them, are newer than their group."""

    class Later(source.SimTransaction):
        async def pages(self, sql: Any, args: Any, encode: Any) -> Any:
            if isinstance(sql, (Newest, Following)) and set(self.source.now.schema) >= {"a", "b"}:
                self.contents = _replace(self.source.now, log=self.contents.log)
            async for page in super().pages(sql, args, encode):
                yield page

    put(World, "read_transaction", lambda _, one, contents: Later(one, contents))


@mutant
def followers_of_new_parents_not_carried(put: Put) -> None:
    """Rows come among the newest without those that follow them."""
    put(Carried, "followers", lambda _: iter(()))


@mutant
def evicted_before_the_groups_end(put: Put) -> None:
    """What is too much leaves with every part of a streamed group."""
    write = Writing.put

    def hasty(self: Writing, batch: Any) -> None:
        write(self, batch)
        self.evict()

    put(Writing, "put", hasty)


@mutant
def nothing_is_evicted(put: Put) -> None:
    """Rows that are not among the newest any more stay."""
    put(consumers.eviction, "_surplus", lambda *_: iter(()))


@mutant
def followers_not_evicted(put: Put) -> None:
    """Rows stay when what they follow leaves."""
    put(Eviction, "_suspects", lambda *_: iter(()))


@mutant
def followers_of_evicted_rows_stay(put: Put) -> None:
    """Rows leave with a parent that was deleted, not with one that is among the newest no more."""

    def deleted(_: Eviction, rows: Any, bounds: Any, table: str, keys: list[bytes]) -> int:
        consumers.eviction.put_indexed(rows, table, [(key, None, 0) for key in keys], bounds.indexes[table])
        return len(keys)

    put(Eviction, "_delete", deleted)


@mutant
def rows_written_without_their_parents_stay(put: Put) -> None:
    """Nobody looks whether a row that was written follows anything."""
    init = Eviction.__init__

    def forgetful(self: Eviction) -> None:
        init(self)
        self._placed = _Forgetful()

    put(Eviction, "__init__", forgetful)


class _Forgetful(dict[str, set[bytes]]):
    def setdefault(self, key: str, default: Any = None) -> Any:
        assert key is not None
        return default


@mutant
def index_entries_stay(put: Put) -> None:
    """The entry of a row's old value stays beside the new one."""
    put_indexed = consumers.bounded.put_indexed

    class Blind:
        def __init__(self, rows: Any) -> None:
            self._rows = rows

        def get_many(self, _: str, keys: list[bytes]) -> list[None]:
            return [None for _ in keys]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._rows, name)

    put(consumers.bounded, "put_indexed", lambda rows, *rest: put_indexed(Blind(rows), *rest))  # type: ignore[arg-type]


@mutant
def pieces_without_exact_at(put: Put) -> None:
    """What was read in several moments is said to be exact where the log was read first."""

    put(PiecewiseReader, "newest", property(lambda self: self._begun or self._moments.state))


@mutant
def exact_at_of_the_groups_beginning(put: Put) -> None:
    """A group's first record says how new its rows may be, before they were read."""
    original = Assembler._end

    def end(self: Assembler, event: Any, interrupted: Any) -> Any:
        return original(
            self, msgspec.structs.replace(event, exact_at=event.high, exact_nonce=None), interrupted
        )

    put(Assembler, "_end", end)


@mutant
def any_group_shows_that_the_source_was_restored(put: Put) -> None:
    """A group that is below where a cache was loaded is believed, whenever the source was read for it."""
    put(consumers.node, "arrived_since", lambda *_: True)
    put(consumers.wayfinder, "read_since", lambda *_: True)


@mutant
def nothing_shows_that_the_source_was_restored(put: Put) -> None:
    """A cache without a source to ask waits for a group that leads beyond it (as first written)."""
    put(consumers.node, "arrived_since", lambda *_: False)
    put(consumers.wayfinder, "read_since", lambda *_: False)


@mutant
def nonce_of_exact_at_ignored(put: Put) -> None:
    """A log that was restored to below rows that were read, and grew past them, is taken to go on."""
    plan = cdc.plan.plan_poll
    put(cdc.poller, "plan_poll", lambda head, state: plan(head and _replace(head, exact_nonce=None), state))


@mutant
def loads_that_do_not_catch_up(put: Put) -> None:
    """Rows read in several moments are taken for the state of the first."""

    async def catch_up(self: PiecewiseReader) -> Any:
        self._settled = self._begun
        return
        yield

    put(PiecewiseReader, "catch_up", catch_up)


@mutant
def catching_up_once_is_enough(put: Put) -> None:
    """What changes while a load catches up is left out."""

    async def catch_up(self: PiecewiseReader) -> Any:
        begun = self._begun
        state = await self._moments.look(begun.high)
        async for page in self.changes(begun.high, state.high):
            yield page
        self._settled = state

    put(PiecewiseReader, "catch_up", catch_up)


@mutant
def deleted_rows_stay_in_a_load(put: Put) -> None:
    """Rows that were deleted while a load went on stay in it."""

    async def remove(self: Loading, table: str, key: bytes, change_id: int) -> None:
        del self, table, key, change_id

    put(Loading, "remove", remove)


@mutant
def moments_that_do_not_continue(put: Put) -> None:
    """A source that was restored between two moments is read on."""
    original = Moments.now

    async def now(self: Moments) -> Any:
        newest, self.newest = self.newest, None
        try:
            moment = await original(self)
        except BaseException:
            self.newest = newest
            raise
        if newest is not None:
            self.newest = await moment.state(newest.high)
        return moment

    put(Moments, "now", now)

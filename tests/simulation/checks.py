"""What must hold at every commit, at every load, and at the end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from consumers.meta import QUARANTINE_TABLE, Checkpoint, read_checkpoint, read_definitions
from schemas import RowEncoder, encode_key
from schemas.codec import decode_event
from schemas.event import Op
from schemas.keys import record_key
from tests.simulation.bounds import held
from tests.simulation.leases import LEASE_SECONDS, is_live, now_ms
from tests.simulation.settings import BY_DIGEST, project

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from cdc.capture.table import Table
    from consumers.groups import Group
    from schemas.event import ChangeEvent, Head
    from tests.simulation.kafka import Entries, Record, Topic
    from tests.simulation.loop import Process
    from tests.simulation.redb import File
    from tests.simulation.source import Contents, LogRow
    from tests.simulation.world import World


class ViolationError(AssertionError):
    """Something that must never happen did."""


_Row = tuple[int, int]
"""Id and nonce of a row of the log."""

_EMBEDDED = ("cache", "embedded")
_encoders: dict[tuple[str, ...], Any] = {}


def encode_rows(table: Table, rows: dict[int, tuple[Any, ...]]) -> dict[bytes, bytes]:
    names = tuple(column.name for column in table.columns)
    encode = _encoders.get(names)
    if encode is None:
        encode = _encoders[names] = RowEncoder(names).encode
    return {encode_key((key,)): encode(row) for key, row in rows.items()}


def _encode_shown(truth: Contents, published: dict[str, Table], table: Table) -> dict[bytes, bytes]:
    whole, rows = truth.schema[table.name], held(truth, published, table.name)
    return encode_rows(table, {key: project(row, whole, table) for key, row in rows.items()})


class Checks:
    """Knows every state that the source ever had."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.commits = 0
        self.loads = 0
        self.incidents = 0
        self._incidents_at = list[float]()
        self.mints = 0
        self._minters: list[tuple[Process, int]] = []
        """Who began which epoch since the last incident."""
        self._truth: dict[tuple[int, int], Contents] = {}
        self._encoded: dict[tuple[int, ...], dict[str, dict[bytes, bytes]]] = {}
        self._before: dict[str, Checkpoint] = {}
        self._files: dict[str, File] = {}
        self._committed_at: dict[str, float] = {}
        self.pruned = 0
        self._excused_to: dict[tuple[int, int], int] = {}
        """By life of the log: up to where pruning wronged nobody, since the cache was silent for too long."""
        self._lapsed = False
        """The cache's lease was taken away: it was silent for too long."""
        self._rebuilding: set[str] = set()
        """Caches of which somebody ordered the next load."""
        self._parents: dict[_Row, _Row] = {}
        """By row of the log: the row before it. Histories part where a backup is restored."""
        self._asked: dict[str, tuple[_Row, _Row]] = {}
        """By cache: where it stood, and the end of the group that it asked about."""
        self._proved: dict[str, tuple[_Row, _Row]] = {}
        """The same, of those that were told so."""
        self._lost: dict[str, _Row] = {}
        """By cache: where it stood when it was told that the source has lost that."""
        self._restored: list[tuple[float, int, tuple[int, int], int]] = []
        """Restores of backups: when, into which life of the log (epoch, and with its nonce), its last id."""
        self._chain: Head | None = None
        """Where the last whole group of the topic leads."""
        self._run: list[ChangeEvent] = []
        self._was_deleted = False
        """The topic is not the first one any more: batches that were on their way to that may land in it."""
        world.broker.watchers.append(self._landed)
        self._strangers: set[str] = set()
        """Caches that were not loaded from the topic of now since the one before was deleted."""
        self._given: dict[int, set[int]] = {}
        """By number of an epoch: the nonces of the lives of the log that it was given to."""

    def pruned_by_hand(self, contents: Contents) -> None:
        """Somebody prunes who knows nothing of leases."""
        assert contents.meta is not None
        self._excused_to[contents.meta[:2]] = contents.meta[3]

    def leases_written(self, before: Contents, after: Contents) -> None:
        """A program of ours committed: what it pruned, nobody must need."""
        if _EMBEDDED in {**before.leases, **after.leases}:
            self._lapsed = _EMBEDDED not in after.leases
        if before.meta is None or after.meta is None or before.meta[:3] != after.meta[:3]:
            return
        was, to = before.meta[3], after.meta[3]
        gone = _gone(before.log, after.log)
        if to == was and not gone:
            return
        self.pruned += len(gone)
        world = self.world
        world.note("source", "the log is pruned to %s: %s rows", to, len(gone))
        if gone and (not after.log or gone[-1].change_id > min(to, after.log[0].change_id)):
            world.fail(f"pruned to {to}: not a prefix, or the newest row")
        self._check_leases(before, to)

    def _check_leases(self, before: Contents, to: int) -> None:
        """Pruning leaves what a live lease holds, and what the embedded cache needs."""
        assert before.meta is not None
        world, life, was = self.world, before.meta[:2], before.meta[3]
        now, ms_max = now_ms(world.source), int(LEASE_SECONDS * 1000)
        for name, lease in before.leases.items():
            if to > was and lease[:2] == life and lease.change_id <= to and is_live(lease, now, ms_max):
                world.fail(f"pruned to {to}, past the lease of {name} at {lease.change_id}")
        lease = before.leases.get(_EMBEDDED)
        if self._lapsed if lease is None else not is_live(lease, now, ms_max):
            self._excused_to[life] = to
            return
        stands = self._before.get("embedded")
        if stands is None or self.world.source.exchanged or life != (stands.epoch, stands.epoch_nonce):
            return
        if max(was, self._excused_to.get(life, 0)) < stands.change_id <= to:
            world.fail(f"pruned to {to}, and the embedded cache stands at {stands.change_id}")

    def _check_lease_of_load(self, name: str, checkpoint: Checkpoint) -> None:
        """What was loaded goes on from the log: it must not have been pruned meanwhile."""
        contents, life = self.world.source.now, (checkpoint.epoch, checkpoint.epoch_nonce)
        exchanged = self.world.source.exchanged
        if name != "embedded" or exchanged or contents.meta is None or contents.meta[:2] != life:
            return
        if self._excused_to.get(life, 0) < checkpoint.change_id <= contents.meta[3]:
            self.world.fail(f"{name} was loaded at {checkpoint.position}, and the log was pruned past it")

    def record_truth(self, contents: Contents) -> None:
        if contents.log:
            newest = contents.log[-1]
            # A row that was written unseen by triggers belongs to the state that a re-read makes later.
            self._truth.setdefault((newest.change_id, newest.nonce), contents)
        log = contents.log
        for at in range(len(log) - 1, 0, -1):
            row, before = log[at], log[at - 1]
            if (row.change_id, row.nonce) in self._parents:
                break
            self._parents[row.change_id, row.nonce] = (before.change_id, before.nonce)

    def stands(self, name: str) -> Checkpoint | None:
        """Where a cache stands, as its readers see it."""
        return self._before.get(name)

    def moments(self, first: int, last: int) -> list[Contents]:
        """The states of the database, in its history up to now, whose log ended at one of these ids."""
        rows = [row for row in self.world.source.now.log if first <= row.change_id <= last]
        return [self._truth[at] for row in rows if (at := (row.change_id, row.nonce)) in self._truth]

    def _comes_from(self, row: _Row, earlier: _Row) -> bool:
        """Whether a row of the log was written in a history that has the earlier one."""
        at: _Row | None = row
        while at is not None and at[0] > earlier[0]:
            at = self._parents.get(at)
        return at == earlier

    def asked(self, name: str, head: Head, group: Group) -> Callable[[bool], None]:
        """The source is asked whether a group leads on from where a cache stands; then what it answered."""
        stands, ends = (head.change_id, head.nonce), (group.high, group.nonce)
        self._asked[name], incidents = (stands, ends), self.incidents
        # Who asks again has forgotten what it was told before: it was killed in between.
        self._proved.pop(name, None)
        there = self._has_rows(stands, ends)
        self.world.note(name, "asks whether %s leads to %s", stands, ends)

        def answered(answer: bool) -> None:
            self.world.note(name, "is told: %s", answer)
            if answer:
                self._proved[name] = (stands, ends)
                if not self._comes_from(ends, stands):
                    self.world.fail(f"{name} was told that {ends} leads on from {stands}: it does not")
            elif there and self._has_rows(stands, ends) and incidents == self.incidents:
                self.world.fail(f"{name} was not told that {ends} leads on from {stands}")

        return answered

    def lost(self, name: str, head: Head) -> None:
        """The source says that a cache stands on a row that it has no more."""
        self.world.note(name, "is told that %s is lost", head.position)
        self._lost[name] = (head.change_id, head.nonce)
        if not (self.world.source.exchanged or self.world.source.edited):
            self.world.fail(f"{name} is told that it stands on a row that is lost, and none ever was")

    def _has_rows(self, *rows: _Row) -> bool:
        return set(rows) <= {(row.change_id, row.nonce) for row in self.world.source.now.log}

    def incident(self) -> None:
        """Something happened to the source that may make a new epoch necessary."""
        # Each reader of the log counts on from its own epoch: the topic's poller, and the embedded cache.
        self.incidents += 1 + ("embedded" in self.world.cache_names)
        self._incidents_at.append(self.world.loop.now)
        self._minters.clear()

    def incidents_since(self, since: float) -> int:
        """How many there were from that moment on."""
        return sum(at >= since for at in self._incidents_at)

    def restored(self, contents: Contents) -> None:
        """A backup takes the place of the database."""
        if contents.meta is not None and contents.log:
            life, end = contents.meta[:2], contents.log[-1].change_id
            self._restored.append((self.world.loop.now, life[0], life, end))

    def _landed(self, topic: str, base: int, entries: Entries) -> None:
        """Whole groups that count chain, whoever wrote them, and a life begins with a snapshot."""
        if topic != self.world.topics.events or self._was_deleted:
            return
        topic_id = self.world.broker.topics[topic].topic_id
        for offset, (_, value) in enumerate(entries, base):
            event, run = decode_event(value or b""), self._run
            if (event.offset, event.topic_id) != (offset, topic_id):
                continue
            goes_on = run and (event.writer, offset) == (run[-1].writer, run[-1].offset + 1)
            self._run = [event] if event.index == 0 else [*run, event] if goes_on else []
            if self._run and event.last:
                self._run = []
                self._check_chain(event)

    def _check_chain(self, event: ChangeEvent) -> None:
        stood, self._chain = self._chain, event.head
        if event.op == Op.SNAPSHOT:
            return
        if stood is None or (stood.epoch, stood.epoch_nonce) != (event.epoch, event.epoch_nonce):
            self.world.fail(f"a life of the log begins at offset {event.offset} without a snapshot")
        elif (stood.change_id, stood.nonce) != (event.prev, event.prev_nonce):
            self.world.fail(f"the chain is broken at offset {event.offset}: {stood.position} to {event.prev}")

    def begun_anew(self) -> None:
        """The topic is deleted together with what was published after a backup.

        Each poller that lives counts on from where it stood itself: nothing tells it of the others any more.
        """
        self.topic_deleted()
        publishers = (one.name for one in self.world.loop.living())
        self.incidents += sum(name.startswith(("poller", "once")) for name in publishers)

    def rebuilt(self, name: str) -> None:
        """Somebody has the cache loaded, whether it needs that or not."""
        self._rebuilding.add(name)

    def topic_deleted(self) -> None:
        """Whatever follows in the topic proves nothing about the caches of now: they may load.

        Nor about one whose first load is under way, from a snapshot of the topic that is gone.
        """
        self._strangers |= self.world.cache_names
        self._was_deleted = True

    def minted(self, process: Process, above: int) -> None:
        self.mints += 1
        if self._stands_elsewhere(process, above):
            self.incidents += 1
        topic, meta = self.world.broker.topics.get(self.world.topics.events), self.world.source.now.meta
        if topic is not None and meta is not None and _knows_epoch(topic, meta[0]):
            # Somebody who was displaced and does not know it counted on from where it stood itself, and is
            # told when it publishes; whoever goes on in the topic must count on from there.
            self.incidents += 1
        if meta is not None:
            self._given.setdefault(meta[0], set()).add(meta[1])
            twins = self._given.get(meta[0] - 1, set())
            if topic is not None and len(twins) > 1 and _knows_epoch(topic, meta[0] - 1):
                # A backup was restored while one poller loaded the epoch that it had begun; another one, who
                # could not know of it, gave its number again. Both are there now, and neither leads on from
                # the other: a third is due, once.
                twins.clear()
                self.incidents += 1
        if self.mints > self.incidents:
            self.world.fail(f"epoch number {self.mints} was begun after {self.incidents} incidents")

    def _stands_elsewhere(self, process: Process, above: int) -> bool:
        """Whether who mints cannot be led by the epoch before, which another one began and has not published.

        It stands in an epoch of that number, or a higher one, of its own: in a life of before a backup was
        restored, or since nothing in the topic tells where readers stand. That is so once an incident.
        """
        others, meta = self._minters.copy(), self.world.source.now.meta
        self._minters.append((process, 0 if meta is None else meta[0]))
        if not others or any(process is other for other, _ in others):
            return False
        last, epoch = others[-1]
        topic = self.world.broker.topics.get(self.world.topics.events)
        return last.alive and above >= epoch and not (topic is not None and _knows_epoch(topic, epoch))

    def committed(self, name: str, file: File) -> None:
        """The cache at ``name`` shows this to its readers now."""
        self.commits += 1
        world = self.world
        checkpoint = read_checkpoint(file.meta)
        if checkpoint is None:
            world.fail(f"{name} has no checkpoint")
            return
        world.note(
            name,
            "stands at %s exact %s offset %s",
            checkpoint.position,
            checkpoint.exact_at,
            checkpoint.offset,
        )
        before = self._before.get(name)
        if before is None and (checkpoint.offset is None or self._is_of_the_topic(checkpoint)):
            self._strangers.discard(name)
        if self._files.get(name) is not file:
            self._check_lease_of_load(name, checkpoint)
        if before is not None and self._files[name] is not file:
            self.loads += 1
            self._check_load(name, before, checkpoint, file)
        elif before is not None and checkpoint.position < before.position:
            world.fail(f"{name} went back from {before.position} to {checkpoint.position}")
        self._before[name], self._files[name] = checkpoint, file
        self._committed_at[name] = world.loop.now
        if checkpoint.exact:
            self._check_rows(name, file, checkpoint)

    def _check_rows(self, name: str, file: File, checkpoint: Checkpoint) -> None:
        world = self.world
        at = (checkpoint.change_id, checkpoint.nonce)
        truth = self._truth.get(at)
        if truth is None:
            world.fail(f"{name} stands at {checkpoint.position}, where the source never was")
            return
        settings = BY_DIGEST.get(checkpoint.settings)
        if settings is None:
            world.fail(f"{name} holds what nobody was configured to publish")
            return
        published = {t: one for t, one in settings.shown(truth.schema).items() if t in truth.triggers}
        seen = (*at, checkpoint.settings)
        if seen not in self._encoded:
            self._encoded[seen] = {t: _encode_shown(truth, published, one) for t, one in published.items()}
        expected = self._encoded[seen]
        shown = {t: rows for t, rows in file.tables.items() if not t.startswith("_cdc_")}
        marks = file.tables.get(QUARANTINE_TABLE, {})
        for table in {**expected, **shown}:
            want = expected.get(table, {})
            have = {key: row for key, (row, _) in shown.get(table, {}).items()}
            if marks or have != want:
                self._check_each(f"{name} at {checkpoint.position}", table, want, have, marks)
        self._check_indexes(name, file, shown)
        definitions = {t: one.columns for t, one in read_definitions(file.meta).items()}
        wanted = {t: table.columns for t, table in published.items()}
        if definitions != wanted:
            world.fail(f"{name} at {checkpoint.position}: definitions {definitions}, at the source {wanted}")

    def _check_each(
        self,
        where: str,
        table: str,
        want: Mapping[bytes, bytes],
        have: Mapping[bytes, bytes],
        marks: Container[bytes],
    ) -> None:
        """Every row is the source's and not marked; one that is marked is not there."""
        for key in {**want, **have}:
            row, is_marked = have.get(key), record_key(table, key) in marks
            if row == want.get(key):
                if row is not None and is_marked:
                    self.world.fail(f"{where}: {table}/{key.hex()} is there, and marked")
            elif row is not None or not is_marked:
                self.world.fail(f"{where}: {table}/{key.hex()} is {row!r}, at the source {want.get(key)!r}")

    def _check_indexes(self, name: str, file: File, shown: Mapping[str, Mapping[bytes, object]]) -> None:
        for index, entries in file.tables.items():
            if index.startswith(("_cdc_order:", "_cdc_index:")):
                table = index.split(":", 3)[2]
                rows = shown.get(table, {})
                if len(entries) != len(rows) or {key for key, _ in entries.values()} != rows.keys():
                    self.world.fail(f"{name}: {index} is not of the rows that there are")

    def _check_load(self, name: str, before: Checkpoint, after: Checkpoint, file: File) -> None:
        world = self.world
        if name in self._rebuilding:
            self._rebuilding.discard(name)
            return
        same_life = (before.epoch, before.epoch_nonce) == (after.epoch, after.epoch_nonce)
        if name in self._strangers and name != "embedded":
            if self._is_of_the_topic(after):
                self._strangers.discard(name)
            return
        if self._is_astray(name, before):
            return
        # Who asks the source gets what that holds, also where a backup was restored since.
        restored = name != "embedded" and after.offset is None and self._was_below(name, before)
        if same_life and after.change_id < before.change_id and not restored:
            world.fail(f"{name} was loaded back from {before.position} to {after.position}")
        meta = world.source.now.meta
        in_it = meta is not None and meta[:2] == (before.epoch, before.epoch_nonce)
        # The source may have been in an older life since, and come back: the topic tells of that a while.
        away = any(
            at >= self._committed_at[name] and epoch < before.epoch for at, epoch, *_ in self._restored
        )
        if in_it and after.epoch < before.epoch and not away:
            world.fail(
                f"{name} was loaded back from {before.position}, in which the source is, to {after.position}"
            )
        if name == "embedded":
            log = world.source.now.log
            row = next((row for row in log if row.change_id == before.change_id), None)
            # A load was needed, or not, by the log as it was when it began.
            began_here = not self.incidents_since(file.made_at)
            if began_here and same_life and row is not None and row.nonce == before.nonce:
                world.fail(f"{name} was loaded needlessly at {before.position}")
            return
        topic = world.broker.topics.get(world.topics.events)
        if same_life and topic is not None and _leads_on(topic, before, after):
            world.fail(f"{name} was loaded needlessly at {before.position}: the topic leads on")

    def _is_of_the_topic(self, after: Checkpoint) -> bool:
        """Whether a load was of the topic of now: one that slept can still be of one that is gone."""
        topic = self.world.broker.topics.get(self.world.topics.events)
        if topic is None or after.topic_id not in (None, topic.topic_id):
            return False
        return (after.offset or 0) <= topic.end and _leads_to(topic, after)

    def _is_astray(self, name: str, before: Checkpoint) -> bool:
        """Whether the topic has a group over where a cache stood that was not loaded from it, and that group
        is of another history, or nobody who was asked, or could be, said that it is not.
        """
        topic = self.world.broker.topics.get(self.world.topics.events)
        if not before.between or topic is None or name == "embedded":
            return False
        stood, life = (before.change_id, before.nonce), (before.epoch, before.epoch_nonce)
        if self._lost.get(name) == stood or self._was_below(name, before):
            return True
        for event in _counting(topic, topic.gone):
            # Also one whose end has not come yet, or that retention has taken while a snapshot was loaded.
            if (event.epoch, event.epoch_nonce) == life and event.prev <= before.change_id <= event.high:
                ends = (event.high, event.nonce)
                if not self._comes_from(ends, stood):
                    return True
                strides = event.prev < before.change_id < event.high
                asked = name not in self.world.sourced or self._asked.get(name) == (stood, ends)
                if strides and asked and self._proved.get(name) != (stood, ends):
                    return True
        return False

    def _was_below(self, name: str, before: Checkpoint) -> bool:
        """Whether the source was, since a cache was loaded from it, where that cannot have come from.

        A poller that looked at it then tells so, whatever was restored later.
        """
        stood, loaded_at = (before.epoch, before.epoch_nonce), self._files[name].made_at
        return any(
            at >= loaded_at and (epoch < before.epoch or (life == stood and end < before.change_id))
            for at, epoch, life, end in self._restored
        )

    def arrived(self) -> bool:
        """Whether every cache is where the source is."""
        contents = self.world.source.now
        if not contents.log or contents.meta is None:
            return False
        newest = contents.log[-1]
        want = (*contents.meta[:2], newest.change_id, newest.nonce)
        for name in self.world.cache_names:
            at = self._before.get(name)
            if at is None or (at.epoch, at.epoch_nonce, at.change_id, at.nonce) != want or not at.exact:
                return False
        return True


def _gone(before: tuple[LogRow, ...], after: tuple[LogRow, ...]) -> tuple[LogRow, ...]:
    """As many of the first rows as are there no more."""
    if after[: len(before)] == before:
        return ()
    return before[: len(before) - len(set(after) & set(before))]


def _knows_epoch(topic: Topic, number: int) -> bool:
    """Whether the topic has a record that counts of that epoch, or a later one."""
    return any(event.epoch >= number for event in _counting(topic))


def _leads_to(topic: Topic, after: Checkpoint) -> bool:
    """Whether the topic has a record that counts of a group which ends at the checkpoint."""
    want = (after.epoch, after.epoch_nonce, after.change_id, after.nonce)
    heads = ((event.epoch, event.epoch_nonce, event.high, event.nonce) for event in _counting(topic))
    return any(head == want for head in heads)


def _counting(topic: Topic, gone: Iterable[Record] = ()) -> Iterator[Any]:
    """Every event that counts; of those that are there no more, of these."""
    records = itertools.chain(gone, topic.records)
    events = ((record.offset, decode_event(record.value or b"")) for record in records)
    return (event for offset, event in events if (event.offset, event.topic_id) == (offset, topic.topic_id))


def _whole_groups(topic: Topic) -> Iterator[Any]:
    """The last event of each whole, counting group."""
    run: list[Any] = []
    for event in _counting(topic):
        if event.index == 0:
            run = [event]
        elif run and (event.writer, event.offset) == (run[-1].writer, run[-1].offset + 1):
            run.append(event)
        else:
            run = []
            continue
        if event.last:
            run = []
            yield event


def _leads_on(topic: Topic, before: Checkpoint, after: Checkpoint) -> bool:
    """Whether the whole, counting groups that the topic has lead from one checkpoint to the other.

    Written for this check alone, from DESIGN section 3.
    """
    at, settings = before.change_id, before.settings
    seen = False
    for event in _whole_groups(topic):
        life = (event.epoch, event.epoch_nonce)
        if life != (before.epoch, before.epoch_nonce):
            # Of a deleted topic a record may land in its successor, even where it counts by chance.
            if event.epoch >= before.epoch or seen:
                return False
            continue
        seen = True
        if event.high <= at:
            continue
        # A group says only what has changed for whoever holds the rows by its settings.
        if event.prev > at or settings not in (event.settings, event.prev_settings):
            return False
        at, settings = event.high, event.settings
    if at == after.change_id and settings != after.settings:
        # Nothing there leads on; nor, but where retention took it, did anything bar the way.
        return topic.start <= (after.offset or 0)
    return at >= after.change_id

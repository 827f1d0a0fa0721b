"""Deciding what a reader does with a group, and gathering whole groups into batches. Pure: no I/O, no clock.

A reader stands at a head (epoch, change id). Groups of its epoch chain: each says which positions it spans,
(prev, high]. The same code decides in the Kafka consumer, in the embedded mode and in the simulation.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from consumers.batch import Batch
from consumers.marks import UNPUBLISHABLE, WRONG_CLASS, QuarantineMark, encode_mark
from consumers.meta import QUARANTINE_TABLE
from schemas.event import Head, Op
from schemas.keys import fits_key_type, record_key, split_record_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.definition import KeyType, TableDefinition


class Verdict(enum.Enum):
    """What a reader does with a group."""

    APPLY = "apply"
    SKIP = "skip"
    """It holds nothing new: a duplicate, or an empty group."""
    OLD_EPOCH = "old epoch"
    """It belongs to a life of the log that is over."""
    NEW_EPOCH = "new epoch"
    """It belongs to another life of the log: only a snapshot leads there."""
    HOLE = "hole"
    """Something before it is missing: it must not be applied."""
    OTHER_HISTORY = "other history"
    """It follows on, or leads to, another row of the log than the one the reader stands on: not applied."""
    OTHER_SETTINGS = "other settings"
    """It goes on from rows as they were published by other settings than those that the reader holds."""
    STRIDES = "strides"
    """It begins before where the reader stands, and ends behind it: applied only where it is proved that the
    row on which the reader stands was among those that it was made from."""


class Group(msgspec.Struct, frozen=True):
    """The header of a group: what one poll saw, every key touched in (prev, high] with its state at high.

    ``prev_nonce`` is that of the log row ``prev``; None from a poller that did not tell yet.
    ``settings`` tell what is published, ``prev_settings`` what was up to ``prev``; None: the same.
    """

    epoch: int
    epoch_nonce: int
    prev: int
    high: int
    nonce: int
    prev_nonce: int | None = None
    settings: int = 0
    prev_settings: int | None = None


def judge(head: Head | None, group: Group, *, between: bool = False) -> Verdict:  # noqa: PLR0911 -- a table
    """Says what a reader standing at ``head`` (None: it has loaded nothing) does with a group.

    A group is applied where it begins at the very row of the log on which the reader stands. A topic can hold
    groups of another history under the same epoch: it was deleted, and a backup of the source restored.

    Args:
        head: where the reader stands.
        group: what comes.
        between: the reader was loaded from elsewhere than this topic and may stand inside a group; it has
            applied none since. A backup of the source may have been restored to below it: nothing in the
            topic tells.
    """
    if head is None:
        return Verdict.NEW_EPOCH
    if group.epoch < head.epoch:
        return Verdict.OLD_EPOCH
    if group.epoch > head.epoch or group.epoch_nonce != head.epoch_nonce:
        return Verdict.NEW_EPOCH
    if group.high < head.change_id:
        return Verdict.SKIP
    if group.high == head.change_id:
        return Verdict.SKIP if group.nonce == head.nonce else Verdict.OTHER_HISTORY
    if group.prev > head.change_id:
        return Verdict.HOLE
    if group.prev < head.change_id and not between:
        return Verdict.OTHER_HISTORY
    if group.prev == head.change_id and group.prev_nonce not in (None, head.nonce):
        return Verdict.OTHER_HISTORY
    if head.settings not in (group.settings, group.prev_settings):
        # It was loaded by other settings than those of the topic, and would be a mixture from here on.
        return Verdict.OTHER_SETTINGS
    # Where the topic did not lead it here, its newer rows may be of what was lost since.
    inexact = between and head.exact_at > head.change_id
    return Verdict.APPLY if group.prev == head.change_id and not inexact else Verdict.STRIDES


def goes_on_from(head: Head | None, snapshot: Head) -> bool:
    """Says whether a snapshot is worth loading for a reader whom only its settings keep from going on.

    An older one would take it back within its epoch, and one that is equal to what it holds would lead it to
    the same group again.
    """
    if head is None:
        return True
    if (snapshot.epoch, snapshot.epoch_nonce) != (head.epoch, head.epoch_nonce):
        return snapshot.epoch >= head.epoch
    if snapshot.change_id == head.change_id:
        return snapshot.settings != head.settings
    return snapshot.change_id > head.change_id


class Groups:
    """Gathers whole groups into ``ready``; the group under way stays apart in ``open`` until its end is seen.

    Args:
        head: where the reader stands; None when nothing is loaded yet.
        quarantined: record keys marked in the cache file, so that a later good row lifts its mark.
        definitions: the tables of the cache file.
        between: the reader may stand inside a group (see `judge`), until it has applied one.
    """

    def __init__(
        self,
        head: Head | None,
        quarantined: set[bytes] | None = None,
        definitions: Mapping[str, TableDefinition] = MappingProxyType({}),
        *,
        between: bool = False,
    ) -> None:
        self.head = head
        self.between = between
        self._proved: Group | None = None
        self.ready = Batch()
        self.open: Batch | None = None
        self.streamed = False
        """Parts of the open group were handed out already: if it dies, they must be taken back."""
        self.quarantined = quarantined if quarantined is not None else set[bytes]()
        self._group: Group | None = None
        # By table with native keys; what the open group changes of it dies with it.
        self._key_types: dict[str, KeyType] = {
            name: one.key_type for name, one in definitions.items() if one.key_type != "tuple"
        }
        self._open_key_types: dict[str, KeyType] = self._key_types

    def begin(self, group: Group) -> Verdict:
        """Judges a group and, where it is to be applied, opens it."""
        verdict = judge(self.head, group, between=self.between)
        if verdict is Verdict.STRIDES and group == self._proved:
            verdict = Verdict.APPLY
        if verdict is Verdict.APPLY:
            self.open = Batch()
            self._group = group
        return verdict

    def prove(self, group: Group) -> None:
        """The row on which the reader stands was among those that the group was made from: it may stride."""
        self._proved = group

    def truncate(self, table: str, definition: TableDefinition | None) -> None:
        """A table is read anew: what the cache has of it goes, rows that follow in the group replace it."""
        self._batch.truncate(table, definition)
        if table in self._open_key_types or (definition is not None and definition.key_type != "tuple"):
            others = self._open_key_types.copy()
            others.pop(table, None)
            if definition is not None and definition.key_type != "tuple":
                others[table] = definition.key_type
            self._open_key_types = others
        for name in self.quarantined:
            if split_record_key(name)[0] == table:
                self._batch.put(QUARANTINE_TABLE, name, None, 0)

    def put(self, op: str, table: str, key: bytes, row: bytes, change_id: int, ts_ms: int) -> None:
        """Adds one row event (c, u, d, r or q) to the open group."""
        batch = self._batch
        if op == Op.DELETE:
            batch.put(table, key, None, change_id)
        elif op == Op.QUARANTINED:
            batch.put(table, key, None, change_id)
            self._mark(table, key, change_id, ts_ms)
            return
        elif self._open_key_types and not fits_key_type(key, self._open_key_types.get(table, "tuple")):
            self._mark(table, key, change_id, ts_ms, WRONG_CLASS)
            return
        else:
            batch.put(table, key, row, change_id)
        if self.quarantined:
            self._unmark(table, key, change_id)

    def quarantine(
        self, table: str, key: bytes, change_id: int, ts_ms: int, reason: str, record: tuple[bytes, bytes]
    ) -> None:
        """A row event that cannot be applied: its row goes, since it is outdated, and a mark says so.

        ``record`` is the Kafka record's key and value; the key is empty where it cannot be told.
        """
        if key:
            self._batch.put(table, key, None, change_id)
        self._mark(table, key, change_id, ts_ms, reason, record)

    def end(self, exact_at: int, exact_nonce: int | None = None) -> Head:
        """The open group is whole: its rows join ``ready`` and the head moves to where it leaves a reader.

        ``exact_at`` is what the group's end says, which may have been read in several moments, and
        ``exact_nonce`` that of this row of the log.
        """
        group = self._group
        if group is None or self.head is None or self.open is None:
            raise RuntimeError("no group is open")
        if exact_at < self.head.exact_at:
            exact_at, exact_nonce = self.head.exact_at, self.head.exact_nonce
        self.head = Head(
            epoch=group.epoch,
            epoch_nonce=group.epoch_nonce,
            change_id=group.high,
            nonce=group.nonce,
            exact_at=exact_at,
            settings=group.settings,
            exact_nonce=exact_nonce,
        )
        self.between = False
        self._proved = None
        self.ready.absorb(self.open)
        self._key_types = self._open_key_types
        self._close()
        return self.head

    def abandon(self) -> bool:
        """Drops the open group. True: parts of it were handed out and must be taken back."""
        streamed = self.streamed
        self._close()
        return streamed

    def take_ready(self) -> Batch:
        """Hands out everything that is whole, to be committed."""
        if self.streamed:
            raise RuntimeError("a commit now would make a part of the open group durable")
        batch, self.ready = self.ready, Batch()
        return batch

    def take_open(self) -> Batch:
        """Hands out what there is of the open group, to be written but not committed."""
        batch = self._batch
        self.open = Batch()
        self.streamed = True
        return batch

    @property
    def _batch(self) -> Batch:
        if self.open is None:
            raise RuntimeError("no group is open")
        return self.open

    def _close(self) -> None:
        self.open = None
        self.streamed = False
        self._group = None
        self._open_key_types = self._key_types

    def _mark(
        self,
        table: str,
        key: bytes,
        change_id: int,
        ts_ms: int,
        reason: str = UNPUBLISHABLE,
        record: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        epoch = self._group.epoch if self._group is not None else 0
        mark = QuarantineMark(reason, epoch, change_id, since_ms=ts_ms, event=record[1], key=record[0])
        name = record_key(table, key)
        self.quarantined.add(name)
        self._batch.marked.append((name, mark))
        self._batch.put(QUARANTINE_TABLE, name, encode_mark(mark), change_id)

    def _unmark(self, table: str, key: bytes, change_id: int) -> None:
        name = record_key(table, key)
        # The mark stays in the set: should this group die, the next good row lifts it once more.
        if name in self.quarantined:
            self._batch.put(QUARANTINE_TABLE, name, None, change_id)

"""The typed content of a cache file's ``_cdc_meta`` table: who it is, how far it came, what its tables are.

The table maps text to bytes. Every value is a msgpack map, so that a newer program may add fields and an
older one still reads the rest:

* ``identity``: an :class:`Identity`, written once when the file is made
* ``checkpoint``: a :class:`Checkpoint`, written in the transaction of the rows that it speaks of
* ``table:NAME``: the :class:`schemas.definition.TableDefinition` of one cached table
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from schemas.definition import TableDefinition
from schemas.errors import CacheCorruptError, OutdatedFileError, UnsupportedVersionError
from schemas.event import Head
from schemas.position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

Meta = dict[str, bytes | None]
"""Changes to the meta table, as ``consumers._redb`` takes them; None deletes."""

FILE_FORMAT = 2
IDENTITY_KEY = "identity"
CHECKPOINT_KEY = "checkpoint"
TABLE_KEY_PREFIX = "table:"
QUARANTINE_TABLE = "_cdc_quarantine"
"""redb table of rows that could not be applied: record key -> consumers.groups.QuarantineMark."""


class Identity(msgspec.Struct, frozen=True):
    """Tells a cache file of ours from any other redb file.

    Attributes:
        node: name of the node that made the file.
        created_ms: Unix time of that, in milliseconds.
        format: major version of the file's layout.
    """

    node: str
    created_ms: int
    format: int = FILE_FORMAT


class Checkpoint(msgspec.Struct, frozen=True):
    """How far the cache came: the last group applied, and where to go on reading.

    Attributes:
        epoch: number of the change log's life.
        epoch_nonce: random number minted with the epoch.
        change_id: ``high`` of the last group applied.
        nonce: nonce of the log row ``change_id``.
        exact_at: the largest ``exact_at`` seen; before it, rows may be newer than ``change_id``.
        exact_nonce: nonce of the log row ``exact_at``; None where that is ``change_id``, or it was not told.
        offset: the next Kafka offset to read; None without Kafka.
        database_id: the id of the source database.
        source_url: where it was read from, without credentials.
        between: the cache was not brought here by the topic (it was loaded from the source, or filled without
            Kafka), so that the next group may begin before ``change_id``.
        topic_id: Kafka's id of the topic that ``offset`` is of; None where the broker tells none.
        settings: a digest of what was configured to be published; see `schemas.event.Head`.
    """

    epoch: int
    epoch_nonce: int
    change_id: int
    nonce: int
    exact_at: int
    offset: int | None
    database_id: str
    source_url: str
    between: bool = True
    settings: int = 0
    exact_nonce: int | None = None
    topic_id: int | None = None

    @property
    def position(self) -> Position:
        """The position that the cache stands at."""
        return Position(self.epoch, self.change_id)

    @property
    def head(self) -> Head:
        """Where it leaves a reader in the chain of groups."""
        return Head(
            self.epoch,
            self.epoch_nonce,
            self.change_id,
            self.nonce,
            self.exact_at,
            self.settings,
            self.exact_nonce,
        )

    @property
    def exact(self) -> bool:
        """Whether the rows are exactly those of the source at ``position``."""
        return self.change_id >= self.exact_at


def read_identity(meta: Mapping[str, bytes]) -> Identity | None:
    """Return who made the file, None where it is no cache file of ours.

    Raises:
        UnsupportedVersionError: the file's layout is of a newer major version.
        OutdatedFileError: it is of an earlier one.
        CacheCorruptError: the entry cannot be read.
    """
    identity = _read(meta, IDENTITY_KEY, Identity)
    if identity is not None and identity.format > FILE_FORMAT:
        raise UnsupportedVersionError(
            f"the cache file has format {identity.format}, this program knows up to {FILE_FORMAT}",
            "upgrade this program, or rebuild the cache with it",
        )
    if identity is not None and identity.format < FILE_FORMAT:
        raise OutdatedFileError(
            f"the cache file has format {identity.format}, this program reads {FILE_FORMAT}",
            "its node loads it anew by itself: cdc sync, or start cdc run or cdc consume",
        )
    return identity


def read_checkpoint(meta: Mapping[str, bytes]) -> Checkpoint | None:
    """Return how far the cache came, None before the first load was finished.

    Raises:
        CacheCorruptError: the entry cannot be read.
    """
    return _read(meta, CHECKPOINT_KEY, Checkpoint)


def read_definitions(meta: Mapping[str, bytes]) -> dict[str, TableDefinition]:
    """Return the definition of every cached table by name, in the order of names.

    Raises:
        CacheCorruptError: an entry cannot be read.
    """
    definitions: dict[str, TableDefinition] = {}
    for key in sorted(meta):
        if key.startswith(TABLE_KEY_PREFIX):
            definition = _read(meta, key, TableDefinition)
            if definition is not None:
                definitions[key.removeprefix(TABLE_KEY_PREFIX)] = definition
    return definitions


def identity_meta(identity: Identity) -> Meta:
    """Return the entry that a new file begins with."""
    return {IDENTITY_KEY: msgspec.msgpack.encode(identity)}


def checkpoint_meta(checkpoint: Checkpoint) -> Meta:
    """Return the entry to write in the same transaction as the rows that led to ``checkpoint``."""
    return {CHECKPOINT_KEY: msgspec.msgpack.encode(checkpoint)}


def definition_meta(name: str, definition: TableDefinition | None) -> Meta:
    """Return the entry of a cached table; None takes the table's entry away."""
    return {TABLE_KEY_PREFIX + name: None if definition is None else msgspec.msgpack.encode(definition)}


_Entry = TypeVar("_Entry", bound=msgspec.Struct)


def _read(meta: Mapping[str, bytes], key: str, kind: type[_Entry]) -> _Entry | None:
    data = meta.get(key)
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CacheCorruptError(
            f"the cache file's entry {key!r} cannot be read", "run: cdc rebuild"
        ) from error

"""Snapshots in Kafka: chunks of rows, the announcement that makes them count, the manifest that finds them.

Chunks and manifests are records of the snapshot topic; an announcement is the ``after`` of an event (op s)
of the events topic, and counts as any event does (DESIGN section 4).
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.definition import TableDefinition  # noqa: TC001 -- msgspec reads the annotations at run time
from schemas.event import Head  # noqa: TC001 -- msgspec reads the annotations at run time
from schemas.rows import GARBAGE, bad_event, decode_with, newer_version

SNAPSHOT_VERSION: Final = 1
"""The major version of chunks and manifests."""


GONE: Final = msgspec.Raw(b"\xc2")
"""In the place of a row: there is none any more."""


class Database(msgspec.Struct, frozen=True):
    """Which database a topic belongs to: the id made at install, and the URL without scheme and secrets."""

    id: str
    url: str


class Chunk(msgspec.Struct, array_like=True, frozen=True):
    """Rows of one table: (encoded key, encoded row, change id) each, and their place in the snapshot.

    Instead of a row: `schemas.event.NIL` where it could not be published, `GONE` where it was deleted while
    the snapshot was read. What comes later of a key goes over what came before.

    ``snapshot`` is its random id, ``index`` counts its chunks from 0. Encoded as an array.

    A row too large for one record is alone in ``parts`` consecutive chunks, alike but for ``index``, ``part``
    (from 0) and the row, which is then a bin: a piece of the encoded row.
    """

    version: int
    snapshot: int
    index: int
    table: str
    rows: list[tuple[bytes, msgspec.Raw, int]]
    part: int = 0
    parts: int = 1


class PackedChunk(msgspec.Struct, array_like=True, frozen=True):
    """A chunk whose rows were left as they are: one msgpack array, for a reader that takes them so."""

    version: int
    snapshot: int
    index: int
    table: str
    rows: msgspec.Raw
    part: int = 0
    parts: int = 1


class Announcement(msgspec.Struct, frozen=True):
    """A complete snapshot: where it stands, which chunks are its own, and all tables it holds.

    ``first_offset`` and ``last_offset`` are of the snapshot topic, both included; between them other writers'
    chunks may lie. ``from_offset`` is of the events topic: whoever loaded the snapshot reads on from there.
    """

    snapshot: int
    position: Head
    from_offset: int
    first_offset: int
    last_offset: int
    chunks: int
    rows: int
    tables: tuple[TableDefinition, ...]
    database: Database


class Manifest(msgspec.Struct, frozen=True):
    """Points from the snapshot topic at the announcement in the events topic. Encoded as a map."""

    version: int
    snapshot: int
    announcement_offset: int
    first_offset: int
    last_offset: int


def encode_chunk(chunk: Chunk) -> bytes:
    """Encode a chunk as the value of a record of the snapshot topic."""
    return _encode(chunk)


def encode_manifest(manifest: Manifest) -> bytes:
    """Encode a manifest as the value of a record of the snapshot topic."""
    return _encode(manifest)


def encode_announcement(announcement: Announcement) -> bytes:
    """Encode an announcement: the ``after`` of its event."""
    return _encode(announcement)


def decode_announcement(data: bytes | msgspec.Raw) -> Announcement:
    """Decode an announcement; fields of later versions are ignored.

    Raises:
        BadEventError: the bytes are none.
    """
    return decode_with(_announcements, data, "snapshot announcement")


def decode_chunk(data: bytes) -> Chunk:
    """Decode a chunk.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: the bytes are no chunk.
    """
    record = decode_snapshot_record(data)
    if isinstance(record, Chunk):
        return record
    raise bad_event("a manifest where a snapshot chunk was expected")


def decode_packed_chunk(data: bytes) -> PackedChunk:
    """Decode a chunk, all but its rows; what they are is not looked at.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: the bytes are no chunk.
    """
    try:
        chunk = _packed_chunks.decode(data)
    except GARBAGE:
        chunk = None
    if chunk is None or chunk.version != SNAPSHOT_VERSION:
        decode_chunk(data)  # says what is wrong with it
        raise bad_event("a snapshot chunk that cannot be read")
    return chunk


def unpack_rows(chunk: PackedChunk) -> Chunk:
    """Decode the rows of a chunk, too.

    Raises:
        BadEventError: they are no rows.
    """
    rows = decode_with(_rows, chunk.rows, "snapshot chunk")
    return Chunk(chunk.version, chunk.snapshot, chunk.index, chunk.table, rows, chunk.part, chunk.parts)


def decode_manifest(data: bytes) -> Manifest:
    """Decode a manifest.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: the bytes are no manifest.
    """
    record = decode_snapshot_record(data)
    if isinstance(record, Manifest):
        return record
    raise bad_event("a snapshot chunk where a manifest was expected")


def decode_snapshot_record(data: bytes) -> Chunk | Manifest:
    """Decode a record of the snapshot topic: a chunk is an array, a manifest a map.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: the bytes are neither.
    """
    is_map = bool(data) and (data[0] & _FIXMAP_MASK == _FIXMAP or data[0] in _MAP_MARKS)
    if is_map:
        found = decode_with(_versions_in_maps, data, "snapshot manifest").version
    else:
        found = decode_with(_versions_in_arrays, data, "snapshot chunk").version
    if found > SNAPSHOT_VERSION:
        raise newer_version("a snapshot", found, SNAPSHOT_VERSION)
    if found != SNAPSHOT_VERSION:
        raise bad_event("a snapshot record of no known version")
    if is_map:
        return decode_with(_manifests, data, "snapshot manifest")
    return decode_with(_chunks, data, "snapshot chunk")


# msgpack's marks of a map: fixmap, map 16, map 32
_FIXMAP = 0x80
_FIXMAP_MASK = 0xF0
_MAP_MARKS = (0xDE, 0xDF)


class _InMap(msgspec.Struct):
    version: int


class _InArray(msgspec.Struct, array_like=True):
    version: int


_encode = msgspec.msgpack.Encoder().encode
_announcements = msgspec.msgpack.Decoder(Announcement)
_chunks = msgspec.msgpack.Decoder(Chunk)
_packed_chunks = msgspec.msgpack.Decoder(PackedChunk)
_rows = msgspec.msgpack.Decoder(list[tuple[bytes, msgspec.Raw, int]])
_manifests = msgspec.msgpack.Decoder(Manifest)
_versions_in_maps = msgspec.msgpack.Decoder(_InMap)
_versions_in_arrays = msgspec.msgpack.Decoder(_InArray)

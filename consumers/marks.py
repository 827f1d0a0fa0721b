"""Marks of quarantine: why a row is not in a cache, as the cache file keeps them."""

from __future__ import annotations

import msgspec

from schemas.errors import CacheCorruptError

UNPUBLISHABLE = "the source cannot publish this row"
"""Its key holds NULL, or it is larger than the broker takes."""


WRONG_CLASS = "its key is of another class than the table's key_type"
"""SQLite stores any value in any column; a redb table of native keys holds those of one class."""


class QuarantineMark(msgspec.Struct, frozen=True):
    """Why a row is not in the cache: the value kept in the cache file's quarantine table.

    ``event`` is the value of the Kafka record that could not be applied, and ``key`` its key; empty where the
    source could not publish the row.
    """

    reason: str
    epoch: int
    change_id: int
    since_ms: int
    event: bytes = b""
    key: bytes = b""


def encode_mark(mark: QuarantineMark) -> bytes:
    """A mark as the cache file's quarantine table holds it (msgpack)."""
    return msgspec.msgpack.encode(mark)


def decode_mark(data: bytes) -> QuarantineMark:
    """A mark as it was stored.

    Raises:
        CacheCorruptError: the bytes are none.
    """
    try:
        return msgspec.msgpack.decode(data, type=QuarantineMark)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CacheCorruptError("a mark of quarantine cannot be read", "run: cdc rebuild") from error

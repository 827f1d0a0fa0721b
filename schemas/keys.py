"""Keys as bytes whose plain byte order is the order of the values.

Each value is one tag byte and its content; the tags rise as SQLite's storage classes compare, except that
INTEGER and REAL are classes of their own here (1 and 1.0 are different keys):

====== ======== ==============================================================================
tag    class    content
====== ======== ==============================================================================
0x01   NULL     none
0x02   INTEGER  8 bytes big-endian, sign bit flipped
0x03   REAL     8 bytes big-endian IEEE 754; sign bit flipped, or all bits when negative
0x04   TEXT     the stored bytes with 00 written as 00 FF, ended by 00
0x05   BLOB     the same
====== ======== ==============================================================================

The encoding of a tuple is that of its values one after the other, so the encoding of its first values is a
prefix of it. The reverse needs `begins_with`: the encoding of 'a' also starts that of 'a' || NUL, and only
the FF that follows tells them apart. No tag is FF, so among the keys with a common prefix those come last.

TEXT that is not UTF-8 needs no tag of its own: its bytes are no other text's.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from schemas.errors import CdcError
from schemas.values import InvalidText, Value, text_from_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.definition import KeyType
_NULL = 0x01
_INTEGER = 0x02
_REAL = 0x03
_TEXT = 0x04
_BLOB = 0x05

_BIAS = 1 << 63
_ALL_BITS = (1 << 64) - 1
_pack_number = struct.Struct(">BQ").pack
_pack_double = struct.Struct(">d").pack
_unpack_double = struct.Struct(">d").unpack
_unpack_bits = struct.Struct(">Q").unpack
_unpack_bits_from = struct.Struct(">Q").unpack_from
_NUMBER_BYTES = 9
_ESCAPED = b"\xff"
"""What follows a 00 that is part of TEXT or a BLOB."""

_TAG_OF_TYPE = {"integer": bytes((_INTEGER,)), "text": bytes((_TEXT,)), "bytes": bytes((_BLOB,))}

_A_WRONG_VALUE = "a value that SQLite cannot hold, of type"


class BadKeyError(CdcError):
    """Values that are no key, or bytes that are not an encoded one."""


def encode_key(values: Sequence[Value]) -> bytes:
    """Encode a key's values, in the declared order of the key columns.

    Raises:
        BadKeyError: a value is of no SQLite class (a bool, NaN, an integer beyond 64 bits, a lone surrogate).
    """
    if len(values) == 1:
        return _encode_value(values[0])
    return b"".join([_encode_value(value) for value in values])


def decode_key(data: bytes) -> tuple[Value, ...]:
    """Give back the values that `encode_key` was given.

    Raises:
        BadKeyError: the bytes are not what `encode_key` writes.
    """
    end = len(data)
    if end and data[0] == _TEXT and data.find(b"\x00") == end - 1:  # the commonest key: one TEXT without NUL
        return (text_from_bytes(data[1:-1]),)
    values: list[Value] = []
    at = 0
    while at < end:
        tag = data[at]
        if tag in (_TEXT, _BLOB):
            content, at = _read_bytes(data, at + 1)
            values.append(text_from_bytes(content) if tag == _TEXT else content)
        elif tag in (_INTEGER, _REAL):
            if at + _NUMBER_BYTES > end:
                raise _bad_key("a number is cut short")
            (bits,) = _unpack_bits_from(data, at + 1)
            values.append(bits - _BIAS if tag == _INTEGER else _real_from_bits(bits))
            at += _NUMBER_BYTES
        elif tag == _NULL:
            values.append(None)
            at += 1
        else:
            raise _bad_key("an unknown tag")
    return tuple(values)


def text_prefix(prefix: str) -> bytes:
    """Give the bytes with which every key starts whose first value is TEXT that starts with ``prefix``."""
    return _encode_value(prefix)[:-1]


def begins_with(key: bytes, first: bytes) -> bool:
    """Whether a key's first values are those that ``first`` encodes.

    A scan of the prefix ``first`` may stop where this is False: no key after it begins with those values.
    """
    return key.startswith(first) and key[len(first) : len(first) + 1] != _ESCAPED


def fits_key_type(key: bytes, key_type: KeyType) -> bool:
    """Whether an encoded key can be one of a table whose keys are of one class; any is a tuple."""
    tag = _TAG_OF_TYPE.get(key_type)
    if tag is None:
        return True
    if key[:1] != tag:
        return False
    if tag[0] == _INTEGER:
        return len(key) == _NUMBER_BYTES
    try:
        content, end = _read_bytes(key, 1)
    except BadKeyError:
        return False
    return end == len(key) and not (tag[0] == _TEXT and isinstance(text_from_bytes(content), InvalidText))


def record_key(table: str, key: bytes) -> bytes:
    """Make the key of a Kafka record: the table's name, 00, the encoded key (empty for control events)."""
    return table.encode() + b"\x00" + key


def split_record_key(data: bytes) -> tuple[str, bytes]:
    """Give back the table's name and the encoded key of a Kafka record's key.

    Raises:
        BadKeyError: the bytes are not what `record_key` writes.
    """
    name, separator, key = data.partition(b"\x00")
    table = text_from_bytes(name)
    if not separator or isinstance(table, InvalidText):
        raise _bad_key("no table name")
    return table, key


def _encode_value(value: Any) -> bytes:
    kind = type(value)
    try:
        if kind is int:
            return _pack_number(_INTEGER, value + _BIAS)
        if kind is str and "\x00" not in value:
            # Tag and end are ASCII, so one encode does all: a third of the time that joining bytes takes.
            return f"\x04{value}\x00".encode()
        return _encode_rarer(value, kind)
    except (struct.error, UnicodeEncodeError):
        raise _bad_key(f"{_A_WRONG_VALUE} {kind.__name__}") from None


def _encode_rarer(value: Any, kind: type) -> bytes:
    if kind is str:
        return b"\x04" + value.encode().replace(b"\x00", b"\x00\xff") + b"\x00"
    if kind is bytes:
        return b"\x05" + value.replace(b"\x00", b"\x00\xff") + b"\x00"
    if kind is float:
        return _pack_number(_REAL, _real_to_bits(value))
    if value is None:
        return b"\x01"
    if kind is InvalidText:
        return b"\x04" + value.data.replace(b"\x00", b"\x00\xff") + b"\x00"
    raise _bad_key(f"{_A_WRONG_VALUE} {kind.__name__}")


def _real_to_bits(value: float) -> int:
    if value != value:  # noqa: PLR0124 -- NaN is the one value that differs from itself
        raise _bad_key("NaN")
    (bits,) = _unpack_bits(_pack_double(value))
    return bits ^ _ALL_BITS if bits & _BIAS else bits | _BIAS


def _real_from_bits(bits: int) -> float:
    (value,) = _unpack_double((bits ^ _BIAS if bits & _BIAS else bits ^ _ALL_BITS).to_bytes(8, "big"))
    if value != value:  # noqa: PLR0124 -- NaN is the one value that differs from itself
        raise _bad_key("NaN")
    return value


def _read_bytes(data: bytes, start: int) -> tuple[bytes, int]:
    """Read escaped bytes from ``start``; give them and where the next value starts."""
    at = start
    while True:
        at = data.find(b"\x00", at)
        if at < 0:
            raise _bad_key("text or a blob without its end")
        if data[at + 1 : at + 2] != _ESCAPED:
            return data[start:at].replace(b"\x00\xff", b"\x00"), at + 1
        at += 2


def _bad_key(what: str) -> BadKeyError:
    return BadKeyError(
        f"this is not a key: it has {what}", "check where it comes from; rebuild the cache if it is stored"
    )

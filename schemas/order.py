"""The order of rows by one column, as bytes: which rows of a bounded table are the newest.

A row's place is `place` of its value and its key: bytes whose plain order is SQLite's of the values (NULL,
then numbers, then TEXT by its bytes, then BLOBs), and the order of encoded keys where values are equal.
Integers and reals are compared as the numbers that they are, also beyond 2^53: 1 and 1.0 are equal, and their
keys decide.

====== ======== ================================================================================
tag    class    content
====== ======== ================================================================================
0x01   NULL     none
0x02   number   the largest double that is not above it, as in `schemas.keys`; then, in 2 bytes,
                what an integer has beyond that
0x03   TEXT     the stored bytes with 00 written as 00 FF, ended by 00
0x04   BLOB     the same
====== ======== ================================================================================

The source's SQL has to order rows the same way (`cdc.capture.bounded_sql`); a property test holds it.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from schemas.keys import BadKeyError, encode_key
from schemas.values import INTEGER_MAX, INTEGER_MIN, InvalidText

if TYPE_CHECKING:
    from schemas.values import Value

_NULL = b"\x01"
_NUMBER = b"\x02"
_TEXT = b"\x03"
_BLOB = b"\x04"
_REAL_BYTES = slice(1, 9)
"""A real's content in an encoded key."""

_pack_beyond = struct.Struct(">H").pack
_NOTHING_BEYOND = _pack_beyond(0)


def place(value: Value, key: bytes) -> bytes:
    """Give the place of the row with this value and this encoded key.

    Raises:
        BadKeyError: the value is of no SQLite class.
    """
    return encode_order(value) + key


def encode_order(value: Value) -> bytes:
    """Encode one value so that the order of the bytes is SQLite's of the values.

    Raises:
        BadKeyError: it is of no SQLite class.
    """
    # Not isinstance: a bool is no SQLite value.
    if type(value) is int or type(value) is float:
        return _NUMBER + _number(value)
    if value is None:
        return _NULL
    if isinstance(value, str):
        return _TEXT + _ended(value.encode())
    if isinstance(value, InvalidText):
        return _TEXT + _ended(value.data)
    if isinstance(value, bytes):
        return _BLOB + _ended(value)
    raise BadKeyError(f"a {type(value).__name__} is no SQLite value", "this is a defect; report it")


def _number(value: float) -> bytes:
    if isinstance(value, float):
        # Adding zero makes 0.0 of -0.0, which SQL takes for the same.
        return encode_key((value + 0.0,))[_REAL_BYTES] + _NOTHING_BEYOND
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise BadKeyError("an integer has more than 64 bits", "this is a defect; report it")
    below = float(value)
    if int(below) > value:
        below = math.nextafter(below, -math.inf)
    return encode_key((below,))[_REAL_BYTES] + _pack_beyond(value - int(below))


def _ended(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") + b"\x00"

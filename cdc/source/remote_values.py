"""SQLite's values as Hrana carries them in JSON.

Integers travel as strings, BLOBs as base64 with or without padding. JSON has no infinities (they arrive as
null), and a server fails on TEXT that is not UTF-8: hence the exact form of `cdc.source.remote_sql`.
Source: https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from schemas.errors import SourceError
from schemas.values import InvalidText, text_from_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.values import Value

BLOB_TAG = "b"
TEXT_TAG = "t"
"""What a BLOB or TEXT begins with in the exact form, which makes a BLOB of either."""

_BLOB_BYTE = ord(BLOB_TAG)


class _Null(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="null"):
    value: ClassVar[None] = None


class _Integer(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="integer"):
    value: int


class _Float(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="float"):
    number: float | None = msgspec.field(name="value")

    @property
    def value(self) -> float:
        if self.number is None:
            raise SourceError("the source's answer lacks an infinite REAL", "ask for it with SELECT")
        return self.number


class _Text(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    value: str


class _Blob(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="blob"):
    base64: str

    @property
    def value(self) -> bytes:
        return a2b_base64(self.base64 + "==")


class _Infinity(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    sign: str = msgspec.field(name="value")

    @property
    def value(self) -> float:
        return float(self.sign)


class _Tagged(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="blob"):
    base64: str

    @property
    def value(self) -> Value:
        return untagged(a2b_base64(self.base64 + "=="))


class _Marked(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    text: str = msgspec.field(name="value")

    @property
    def value(self) -> str | float:
        return self.text[1:] if self.text[0] == TEXT_TAG else float(self.text)


PlainValue = _Null | _Integer | _Float | _Text | _Blob
ExactValue = _Null | _Integer | _Float | _Infinity | _Tagged
MarkedValue = _Null | _Integer | _Float | _Marked | _Blob


def untagged(data: bytes) -> Value:
    """Give a BLOB or TEXT from its exact form."""
    return data[1:] if data[0] == _BLOB_BYTE else text_from_bytes(data[1:])


def from_wire(rows: Sequence[Sequence[PlainValue | ExactValue | MarkedValue]]) -> list[tuple[Any, ...]]:
    """Give rows of values."""
    return [tuple([value.value for value in row]) for row in rows]


def to_wire(value: Value) -> dict[str, Any]:
    """Give a finite value as a parameter; the bytes of TEXT that is not UTF-8 (the SQL casts them)."""
    if value is None:
        return {"type": "null"}
    if isinstance(value, str):
        return {"type": "text", "value": value}
    if isinstance(value, int):
        return {"type": "integer", "value": str(value)}
    if isinstance(value, float):
        return {"type": "float", "value": value}
    data = value.data if isinstance(value, InvalidText) else value
    return {"type": "blob", "base64": b64encode(data).decode()}

"""Events and table definitions as bytes, and back; rows and keys are in `schemas.rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from schemas.definition import TableDefinition
from schemas.event import EVENT_VERSION, OPS, ChangeEvent
from schemas.json_event import decode_event_json, encode_event_json, is_json
from schemas.rows import (
    GARBAGE,
    INVALID_TEXT_TYPE,
    RowEncoder,
    bad_event,
    decode_row,
    decode_values,
    decode_with,
    encode_row,
    encode_values,
    newer_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.errors import BadEventError, UnsupportedVersionError

__all__ = [
    "ENCODERS",
    "INVALID_TEXT_TYPE",
    "Encoding",
    "RowEncoder",
    "decode_definition",
    "decode_event",
    "decode_row",
    "decode_values",
    "decode_with",
    "encode_definition",
    "encode_event",
    "encode_event_json",
    "encode_row",
    "encode_values",
]


Encoding = Literal["msgpack", "json"]
"""How events are written; which of them a record is, `decode_event` tells by its first byte."""


def encode_event(event: ChangeEvent) -> bytes:
    """Encode an event as the value of a Kafka record, in msgpack (`encode_event_json`: in JSON)."""
    return _encode(event)


def decode_event(data: bytes) -> ChangeEvent:
    """Decode the value of a Kafka record, msgpack or JSON; its key and row stay encoded.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: it is no event.
    """
    try:
        event = _decode_event(data)
    except GARBAGE as error:
        # No msgpack event starts as a JSON object does, so only the rarer encoding pays for the question.
        if is_json(data):
            return decode_event_json(data)
        raise _refusal(data, type(error).__name__) from None
    if event.version != EVENT_VERSION or event.op not in OPS:
        raise _refusal(data, "unknown version or op")
    return event


ENCODERS: Final[dict[Encoding, Callable[[ChangeEvent], bytes]]] = {
    "msgpack": encode_event,
    "json": encode_event_json,
}


def encode_definition(definition: TableDefinition) -> bytes:
    """Encode a table's definition: the ``after`` of an event with op t."""
    return _encode(definition)


def decode_definition(data: bytes | msgspec.Raw) -> TableDefinition:
    """Decode a table's definition; fields of later versions are ignored.

    Raises:
        BadEventError: the bytes are none.
    """
    return decode_with(_definition_decoder, data, "table definition")


def _refusal(data: bytes, reason: str) -> BadEventError | UnsupportedVersionError:
    """Say why the bytes are no event that this version reads."""
    version = _version_of(data)
    if version > EVENT_VERSION:
        return newer_version("an event", version, EVENT_VERSION)
    return bad_event(f"a record that is no event ({reason})")


def _version_of(data: bytes) -> int:
    """The version of what has as much of an event as every version has; 0 for a stranger's record."""
    try:
        fields = _decode_fields(data)
        version, offset = _decode_integer(fields[0]), fields[_OFFSET_INDEX]
        _decode_integer(offset)
    except (*GARBAGE, IndexError):
        return 0
    return version


_OFFSET_INDEX = ChangeEvent.__struct_fields__.index("offset")

_encode = msgspec.msgpack.Encoder().encode
_decode_event = msgspec.msgpack.Decoder(ChangeEvent).decode
_decode_fields = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_integer = msgspec.msgpack.Decoder(int).decode
_definition_decoder = msgspec.msgpack.Decoder(TableDefinition)

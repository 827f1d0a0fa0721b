"""Events as JSON, for topics that other tools read (``kafka.encoding = "json"``).

One object with the fields of `ChangeEvent` by name; ``key`` is an array and ``after`` an object of values in
their JSON forms (CONTRACT "JSON values"), or what op t and s carry. A reader has the same event from both
encodings: key and row are msgpack once it is decoded.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.errors import BadEventError, UnsupportedVersionError
from schemas.event import EVENT_VERSION, NIL, OPS, ChangeEvent, Op
from schemas.rows import (
    GARBAGE,
    bad_event,
    decode_row,
    decode_values,
    encode_row,
    encode_values,
    newer_version,
)
from schemas.values import (
    BadValueError,
    row_from_json,
    row_to_json,
    value_from_json,
    value_to_json,
    values_from_json,
    values_to_json,
)

_DOCUMENT_OPS: Final = frozenset((Op.TRUNCATE, Op.SNAPSHOT))
"""Ops whose ``after`` is a document of ours (plain JSON types), not a row."""


def encode_event_json(event: ChangeEvent) -> bytes:
    """Encode an event as the value of a Kafka record, in JSON.

    Raises:
        BadEventError: its key or ``after`` is not an encoded one.
    """
    fields = {name: getattr(event, name) for name in ChangeEvent.__struct_fields__}
    fields["key"] = None if event.key == NIL else values_to_json(decode_values(event.key))
    fields["after"] = None if event.after == NIL else _after_to_json(event)
    return msgspec.json.encode(fields)


def decode_event_json(data: bytes) -> ChangeEvent:
    """Decode an event that `encode_event_json` wrote.

    Raises:
        UnsupportedVersionError: a newer major version wrote it.
        BadEventError: it is no event.
    """
    try:
        version = _version_decoder.decode(data).version
        if version > EVENT_VERSION:
            raise newer_version("an event", version, EVENT_VERSION)
        fields = msgspec.structs.asdict(_fields_decoder.decode(data))
        if version != EVENT_VERSION or fields["op"] not in OPS:
            raise bad_event("a JSON record that is no event (unknown version or op)")
        fields["key"] = _raw_key(fields["key"])
        fields["after"] = _raw_after(fields["op"], fields["after"], fields["parts"])
        return ChangeEvent(**fields)
    except (BadEventError, UnsupportedVersionError):
        raise
    except (*GARBAGE, BadValueError) as error:
        raise bad_event(f"a JSON record that is no event ({type(error).__name__})") from None


def is_json(data: bytes) -> bool:
    """Whether a record's value is JSON: its first byte is a small integer in msgpack, and no event is one."""
    return data[:1] == b"{"


class _Version(msgspec.Struct):
    """As much of an event as every version has: a stranger's record must not look like a later one."""

    version: int
    epoch: int
    writer: int
    offset: int


def _field(field: msgspec.structs.FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    """A field of ChangeEvent as JSON gives it; earlier versions wrote none that has a default."""
    kind = Any if field.name in ("key", "after") else field.type
    return (field.name, kind) if field.required else (field.name, kind, field.default)


_Fields = msgspec.defstruct("_Fields", map(_field, msgspec.structs.fields(ChangeEvent)))
_version_decoder = msgspec.json.Decoder(_Version)
_fields_decoder = msgspec.json.Decoder(_Fields)


def _after_to_json(event: ChangeEvent) -> Any:
    if event.parts > 1:
        return value_to_json(msgspec.msgpack.decode(event.after, type=bytes))
    if event.op in _DOCUMENT_OPS:
        return msgspec.msgpack.decode(event.after)
    return row_to_json(decode_row(event.after))


def _raw_key(form: Any) -> msgspec.Raw:
    return NIL if form is None else msgspec.Raw(encode_values(values_from_json(form)))


def _raw_after(op: str, form: Any, parts: int) -> msgspec.Raw:
    if form is None:
        return NIL
    if parts > 1:
        return msgspec.Raw(msgspec.msgpack.encode(value_from_json(form)))
    if op in _DOCUMENT_OPS:
        return msgspec.Raw(msgspec.msgpack.encode(form))
    row = row_from_json(form)
    return msgspec.Raw(encode_row(tuple(row), tuple(row.values())))

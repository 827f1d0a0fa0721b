"""JSON Schema and AsyncAPI of what is in the topics, for programs in other languages.

``python -m schemas.documents`` writes both files anew; a test holds them to the types. Shapes and defaults
are taken from the Structs: only what a type cannot say (what a field means, which ``after`` an op has) is
written down here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.event import CONTROL_OPS, EVENT_VERSION, OPS, ChangeEvent, Op
from schemas.snapshot import SNAPSHOT_VERSION, Announcement, Chunk, Manifest
from schemas.values import INTEGER_MAX, INTEGER_MIN

EVENTS_SCHEMA: Final = Path(__file__).with_name("events.schema.json")
"""JSON Schema (2020-12) of the records; in the installed package too, as are the golden vectors."""

ASYNCAPI: Final = Path(__file__).with_name("asyncapi.json")
"""AsyncAPI 3.0 of the three topics."""

_ROW_OPS: Final = (Op.CREATE, Op.UPDATE, Op.READ)
_IDENTIFIER: Final = "https://schemas.invalid/turso-redb-cdc/events/1"

FIELD_TEXTS: Final = {
    "version": "Major version. A reader that meets a higher one stops applying.",
    "op": "c create, u update, d delete, r read (a row of a table that is read anew), t truncate (the table "
    "is read anew from here, or leaves), q quarantined (the row exists but cannot be published); of none: "
    "h heartbeat (an empty group), s snapshot announcement, e the poller says goodbye.",
    "table": "The table's name; empty for h, s and e.",
    "key": "The key's values in the primary key's declared order; null where the op is of no row.",
    "before": "Always null: earlier images are not captured.",
    "after": "c, u, r: the row by column. t: the table's definition, null when the table leaves. s: the "
    "announcement. Otherwise null.",
    "change_id": "The newest row of the source's change log that touched this key.",
    "ts_ms": "When that was, by the source's clock: milliseconds since 1970, UTC; 0 where nobody knows.",
    "epoch": "Which unbroken life of the change log this is of.",
    "epoch_nonce": "A random number minted with the epoch: the same epoch with another one is another life.",
    "prev": "The group holds every key touched in (prev, high].",
    "high": "Where the group leads: rows are in their state at this change id.",
    "nonce": "The random number of the change log's row high.",
    "exact_at": "Rows may be newer than high, up to this change id.",
    "index": "The record's place in its group, from 0.",
    "last": "Whether the group ends here.",
    "writer": "A random number of the poller's life that wrote the group.",
    "offset": "The offset at which this record was expected to land. It counts only if it did.",
    "prev_nonce": "The random number of the change log's row prev; null from a poller that did not tell yet.",
    "settings": "A digest of what is configured to be published; 0 where that is everything.",
    "prev_settings": "The settings of the group before, where those were others; null: the same.",
    "part": "Which part of what is too large for one record this is, from 0.",
    "parts": "How many parts that has; with more than 1, `after` is a BLOB: a piece of its msgpack encoding.",
    "exact_nonce": "The random number of the change log's row exact_at, on the group's last record; null "
    "where that is high.",
    "read_after": "Where the topic ended just before the source was read for the group, or looked at without "
    "a change: records before that offset had landed by then; null from a poller that did not tell yet.",
    "topic_id": "The first eight bytes of Kafka's id of the topic that the record was meant for, as a signed "
    "number: in another topic of the same name it does not count; null where the broker tells no ids.",
}
"""What each field of an event means."""


def events_schema() -> dict[str, Any]:
    """Give the JSON Schema of events in both encodings, and of the snapshot topic's records."""
    _, components = msgspec.json.schema_components(
        [Announcement, Manifest, Chunk], ref_template="#/$defs/{name}"
    )
    definitions = {name: _plain(schema) for name, schema in sorted(components.items())}
    definitions["Chunk"] = _with_titles(definitions["Chunk"], Chunk)
    rows = definitions["Chunk"]["prefixItems"][Chunk.__struct_fields__.index("rows")]
    rows["items"]["prefixItems"][1] = {
        "$ref": "#/$defs/Row",
        "description": "nil: a row that cannot be published; where `parts` is more than 1 a bin, its piece",
    }
    part = _tagged("$blob", {"type": "string", "contentEncoding": "base64"}, "where `parts` is more than 1")
    own = {
        "Value": _value(),
        "Key": _key(),
        "Row": _row(),
        "Part": part,
        "Event": _event(),
        "EventArray": _event_array(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _IDENTIFIER,
        "title": "Change events",
        "description": "Event: the value of a record in JSON. EventArray: the same in msgpack, as decoded. "
        "Written by schemas/documents.py.",
        "$ref": "#/$defs/Event",
        "$defs": {**own, **definitions},
    }


def asyncapi() -> dict[str, Any]:
    """Give the AsyncAPI document of the topics; payloads refer to the JSON Schema beside it."""
    messages = {
        "event": _message("One record of a group, as a JSON object", "application/json", "Event"),
        "eventArray": _message(
            "One record of a group, as a msgpack array", "application/msgpack", "EventArray"
        ),
        "chunk": _message("Rows of one table, key chunk", "application/msgpack", "Chunk"),
        "manifest": _message("Where a snapshot is, key manifest", "application/msgpack", "Manifest"),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "turso-redb-cdc",
            "version": f"{EVENT_VERSION}.0.0",
            "description": "What the poller publishes. A record of the events topic counts only where its "
            "offset field is the offset it has; a group counts only whole.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/msgpack",
        "channels": {
            "events": _channel("{topic}", "Groups of row events, in order.", ("event", "eventArray")),
            "snapshots": _channel("{topic}.snapshots", "What new nodes start from.", ("chunk", "manifest")),
        },
        "operations": {
            "publishEvents": {"action": "send", "channel": {"$ref": "#/channels/events"}},
            "publishSnapshot": {"action": "send", "channel": {"$ref": "#/channels/snapshots"}},
        },
        "components": {"messages": messages},
    }


def document_text(document: dict[str, Any]) -> bytes:
    """Give a document as the bytes of its file, the same on every run."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _value() -> dict[str, Any]:
    base64 = {"type": "string", "contentEncoding": "base64"}
    return {
        "description": "A SQLite value. An INTEGER has all of 64 bits, and no point or exponent; a REAL has "
        "one (JSON Schema cannot tell 1 from 1.0, a reader must).",
        "anyOf": [
            {"type": "null"},
            {"type": "integer", "minimum": INTEGER_MIN, "maximum": INTEGER_MAX},
            {"type": "number"},
            {"type": "string"},
            _tagged("$blob", base64, "BLOB"),
            _tagged("$real", {"enum": ["inf", "-inf"]}, "REAL that is infinite"),
            _tagged("$text", base64, "TEXT that is not UTF-8; in msgpack extension type 1"),
        ],
    }


def _tagged(name: str, content: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": {name: content},
        "required": [name],
        "additionalProperties": False,
    }


def _key() -> dict[str, Any]:
    return {"type": ["array", "null"], "items": {"$ref": "#/$defs/Value"}}


def _row() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": "#/$defs/Value"}}


def _event() -> dict[str, Any]:
    fields = _fields()
    return {
        "description": "Later versions may add fields: a reader ignores what it does not know.",
        "type": "object",
        "properties": fields,
        "required": _required(),
        "allOf": [_after("properties", ops, after) for ops, after in _afters()],
    }


def _event_array() -> dict[str, Any]:
    """The fields by their place; conditions on ``op`` and ``after`` as for the object."""
    fields = _fields()
    return {
        "description": "Later versions may append elements: a reader ignores what it does not know.",
        "type": "array",
        "prefixItems": [{"title": name, **schema} for name, schema in fields.items()],
        "minItems": len(_required()),
        "allOf": [_after("prefixItems", ops, after) for ops, after in _afters()],
    }


def _afters() -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    null = {"type": "null"}
    definition, part = {"$ref": "#/$defs/TableDefinition"}, {"$ref": "#/$defs/Part"}
    without = tuple(sorted(OPS - {*_ROW_OPS, Op.TRUNCATE, Op.SNAPSHOT}))
    return [
        (_ROW_OPS, {"anyOf": [{"$ref": "#/$defs/Row"}, part]}),
        ((Op.TRUNCATE,), {"anyOf": [definition, null, part]}),
        ((Op.SNAPSHOT,), {"$ref": "#/$defs/Announcement"}),
        (without, null),
        (tuple(sorted(CONTROL_OPS)), {}),
    ]


def _after(keyword: str, ops: tuple[str, ...], after: dict[str, Any]) -> dict[str, Any]:
    """Say which ``after`` the ops have; control ops have no table and no key."""
    names = ChangeEvent.__struct_fields__
    then = {"after": after} if after else {"table": {"const": ""}, "key": {"type": "null"}}

    def place(schemas: dict[str, Any]) -> dict[str, Any]:
        if keyword == "properties":
            return {keyword: schemas}
        last = max(names.index(name) for name in schemas)
        return {keyword: [schemas.get(name, {}) for name in names[: last + 1]]}

    return {"if": place({"op": {"enum": list(ops)}}), "then": place(then)}


def _fields() -> dict[str, dict[str, Any]]:
    """Each field's schema, in the order of the array."""
    special = {
        "version": {"const": EVENT_VERSION},
        "op": {"enum": sorted(OPS)},
        "key": {"$ref": "#/$defs/Key"},
        "after": {},
    }
    fields: dict[str, dict[str, Any]] = {}
    for field in msgspec.structs.fields(ChangeEvent):
        schema = special.get(field.name) or ({} if field.name in special else msgspec.json.schema(field.type))
        fields[field.name] = {"description": FIELD_TEXTS[field.name], **schema}
    return fields


def _required() -> list[str]:
    return [field.name for field in msgspec.structs.fields(ChangeEvent) if field.required]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Take away how our docstrings are wrapped."""
    schema = dict(schema)
    schema["description"] = " ".join(schema.get("description", "").split()).replace("``", "")
    return schema


def _with_titles(schema: dict[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    names = struct.__struct_fields__
    items = [{"title": name, **item} for name, item in zip(names, schema["prefixItems"], strict=True)]
    return {**schema, "prefixItems": items}


def _message(summary: str, content_type: str, definition: str) -> dict[str, Any]:
    major = EVENT_VERSION if definition.startswith("Event") else SNAPSHOT_VERSION
    return {
        "name": definition,
        "summary": f"{summary}, major version {major}.",
        "contentType": content_type,
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": {"$ref": f"{EVENTS_SCHEMA.name}#/$defs/{definition}"},
        },
        "bindings": {"kafka": {"key": _record_key(definition), "bindingVersion": "0.5.0"}},
    }


def _record_key(definition: str) -> dict[str, Any]:
    if definition.startswith("Event"):
        return {
            "type": "string",
            "description": "Bytes: the table's name, NUL, the key as in schemas/keys.py.",
        }
    return {"type": "string", "enum": [definition.lower()]}


def _channel(address: str, description: str, messages: tuple[str, ...]) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "parameters": {"topic": {"description": "kafka.topic of the configuration", "default": "cdc.app"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"partitions": 1, "bindingVersion": "0.5.0"}},
    }


if __name__ == "__main__":
    EVENTS_SCHEMA.write_bytes(document_text(events_schema()))
    ASYNCAPI.write_bytes(document_text(asyncapi()))

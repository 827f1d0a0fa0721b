"""Golden vectors: what every encoder and decoder of another language must agree with.

``python -m schemas.vectors`` writes ``vectors.json`` anew; a test holds that file to this code, and others
hold it to the published formats. Values stand in their JSON forms (CONTRACT "JSON values"), bytes as hex.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from schemas.codec import encode_definition, encode_event, encode_event_json
from schemas.definition import Column, TableDefinition
from schemas.event import EVENT_VERSION, NIL, ChangeEvent, Head, Op
from schemas.keys import encode_key, record_key
from schemas.parts import parts_of
from schemas.rows import encode_row, encode_values
from schemas.snapshot import (
    SNAPSHOT_VERSION,
    Announcement,
    Chunk,
    Database,
    Manifest,
    encode_announcement,
    encode_chunk,
    encode_manifest,
)
from schemas.values import (
    INTEGER_MAX,
    INTEGER_MIN,
    InvalidText,
    Value,
    row_to_json,
    value_to_json,
    values_to_json,
)

VECTORS: Final = Path(__file__).with_name("vectors.json")
"""The golden vectors, beside this file in the installed package too."""

_NULLS: Final = (None,)
# Around every length msgpack has for integers.
_INTEGERS: Final = (
    *(INTEGER_MIN, INTEGER_MIN + 1, -(2**53) - 1, -(2**31) - 1, -(2**31), -(2**15) - 1, -(2**15), -129, -128),
    *(-33, -32, -1, 0, 1, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**53 + 1, INTEGER_MAX),
)
_REALS: Final = (
    *(-math.inf, -1.7976931348623157e308, -1.5, -1.0, -5e-324, -0.0, 0.0, 5e-324, 2.2250738585072014e-308),
    *(0.1, 0.30000000000000004, 1.0, 1e16, 1e22, 1.7976931348623157e308, math.inf),
)
# In the order of their bytes: NULs, the edges of UTF-8's lengths, text that is not UTF-8, msgpack's lengths.
_TEXTS: Final = (
    *("", "\x00", "\x00\x00", "\x00\x01", "\x01", "a", "a\x00", "a\x00b", "a\x01", "aa", "x" * 31, "x" * 32),
    *("x" * 255, "x" * 256, "\x7f", InvalidText(b"\x80"), "\x80", "\u00e9", "\u07ff", "\u0800"),
    *(InvalidText(b"\xed\xa0\x80"), "\ufeff", "\uffff", "\U00010000", "\U0001f600", InvalidText(b"\xff")),
    *(InvalidText(b"\xff\x00\xfe"),),
)
_BLOBS: Final = (
    *(b"", b"\x00", b"\x00\x00", b"\x00\x01", b"\x00\xff", b"\x01", b"a", b"a\x00b", b"\xc3\xa9", b"\xff"),
    *(b"\xff" * 255, b"\xff" * 256),
)
_VALUES: Final = (*_NULLS, *_INTEGERS, *_REALS, *_TEXTS, *_BLOBS)

# In the order of their encodings.
_KEYS: Final[tuple[tuple[Value, ...], ...]] = (
    (None,),
    (None, None),
    (None, "a"),
    (-1, "b"),
    (1,),
    (1, -5),
    (1, "a"),
    (1, "a", b"z"),
    (2, None),
    (1.0, 1),
    ("a",),
    ("a", None),
    ("a", 1),
    ("a", 1.0),
    ("a", "b"),
    ("a", b"b"),
    ("a\x00", 0),
    ("a\x00b",),
    ("ab", None),
    (InvalidText(b"\xff"), 1),
    (b"\x00", 1),
    (b"\x00\x00",),
)

_ROWS: Final[tuple[dict[str, Value], ...]] = (
    {},
    {"id": "ep-1", "steps": 3, "score": 0.5, "note": None, "vector": b"\x00\x01\xff"},
    {"": 1, 'a"b\\c\nd': 2, "\u00e9": 3, "NUL\x00": 4, "raw": InvalidText(b"caf\xe9"), "inf": math.inf},
    {f"c{index}": index for index in range(16)},
)

_DEFINITION: Final = TableDefinition(
    name="episodes",
    columns=(Column("id", "TEXT"), Column("steps", "INTEGER"), Column("score", "REAL")),
    key=("id",),
    schema_version=7,
)
_HEAD: Final = Head(epoch=2, epoch_nonce=1001, change_id=40, nonce=1002, exact_at=45)
_ANNOUNCEMENT: Final = Announcement(
    snapshot=INTEGER_MAX,
    position=_HEAD,
    from_offset=96,
    first_offset=10,
    last_offset=12,
    chunks=2,
    rows=1500,
    tables=(_DEFINITION,),
    database=Database(id="0f3c", url="/srv/app.db"),
)
_MANIFEST: Final = Manifest(
    version=SNAPSHOT_VERSION, snapshot=INTEGER_MAX, announcement_offset=96, first_offset=10, last_offset=12
)


def vectors() -> dict[str, Any]:
    """Give the document that ``vectors.json`` holds."""
    return {
        "about": "Written by schemas/vectors.py. Values in the JSON forms of the contract, bytes as hex.",
        "event_version": EVENT_VERSION,
        "snapshot_version": SNAPSHOT_VERSION,
        "values": [_value_vector(value) for value in _VALUES],
        "keys": [_key_vector(key) for key in _KEYS],
        "rows": [
            {"json": row_to_json(row), "msgpack": encode_row(tuple(row), tuple(row.values())).hex()}
            for row in _ROWS
        ],
        "definition": {
            "json": msgspec.to_builtins(_DEFINITION),
            "msgpack": encode_definition(_DEFINITION).hex(),
        },
        "events": [_event_vector(event) for event in _events()],
        "chunk": _chunk_vector(),
        "announcement": {
            "json": msgspec.to_builtins(_ANNOUNCEMENT),
            "msgpack": encode_announcement(_ANNOUNCEMENT).hex(),
        },
        "manifest": {"json": msgspec.to_builtins(_MANIFEST), "msgpack": encode_manifest(_MANIFEST).hex()},
    }


def vectors_text() -> bytes:
    """Give the content of ``vectors.json``: one line for each vector, the same on every run."""
    sections = []
    for name, content in vectors().items():
        if isinstance(content, list):
            lines = b",\n".join(b"    " + _json(item) for item in content)
            sections.append(b"  " + _json(name) + b": [\n" + lines + b"\n  ]")
        else:
            sections.append(b"  " + _json(name) + b": " + _json(content))
    return b"{\n" + b",\n".join(sections) + b"\n}\n"


def _value_vector(value: Value) -> dict[str, Any]:
    return {
        "class": _CLASS_NAMES[type(value)],
        "json": value_to_json(value),
        "msgpack": encode_values((value,))[1:].hex(),
        "key": encode_key((value,)).hex(),
    }


def _key_vector(key: tuple[Value, ...]) -> dict[str, Any]:
    return {
        "json": values_to_json(key),
        "msgpack": encode_values(key).hex(),
        "key": encode_key(key).hex(),
        "record_key": record_key("episodes", encode_key(key)).hex(),
    }


def _event_vector(event: ChangeEvent) -> dict[str, Any]:
    text = encode_event_json(event)
    return {"json": msgspec.json.decode(text), "msgpack": encode_event(event).hex()}


def _chunk_vector() -> dict[str, Any]:
    row: dict[str, Value] = {"id": "ep-1", "steps": 3, "score": 0.5}
    raw = msgspec.Raw(encode_row(tuple(row), tuple(row.values())))
    chunk = Chunk(SNAPSHOT_VERSION, INTEGER_MAX, 0, "episodes", [(encode_key(("ep-1",)), raw, 40)])
    rows = [{"key": encode_key(("ep-1",)).hex(), "after": row_to_json(row), "change_id": 40}]
    fields = {
        "version": SNAPSHOT_VERSION,
        "snapshot": INTEGER_MAX,
        "index": 0,
        "table": "episodes",
        "rows": rows,
        "part": 0,
        "parts": 1,
    }
    return {"json": fields, "msgpack": encode_chunk(chunk).hex()}


def _events() -> list[ChangeEvent]:
    """A group of every op that speaks of rows and tables, then one group for each other op."""
    row = msgspec.Raw(encode_row(("id", "steps", "score"), ("ep-1", 3, 0.5)))
    moved = msgspec.Raw(
        encode_row(("id", "steps", "score"), (InvalidText(b"ep-\xff"), INTEGER_MIN, -math.inf))
    )
    definition = msgspec.Raw(encode_definition(_DEFINITION))
    _, (begin, end) = parts_of(row, len(row))
    members: list[tuple[str, tuple[Value, ...] | None, msgspec.Raw]] = [
        (Op.DELETE, ("ep-1",), NIL),
        (Op.CREATE, (InvalidText(b"ep-\xff"),), moved),
        (Op.UPDATE, ("ep-1",), row),
        (Op.QUARANTINED, ("ep-2", None), NIL),
        (Op.TRUNCATE, None, definition),
        (Op.READ, ("ep-1",), row),
        (Op.READ, ("ep-1",), begin),
        (Op.READ, ("ep-1",), end),
    ]
    group = [
        _event(op, key, after, index=index, last=index == len(members) - 1)
        for index, (op, key, after) in enumerate(members)
    ]
    group[-2:] = [replace(event, part=part, parts=2) for part, event in enumerate(group[-2:])]
    announcement = msgspec.Raw(encode_announcement(_ANNOUNCEMENT))
    alone = [(Op.HEARTBEAT, NIL), (Op.SNAPSHOT, announcement), (Op.END, NIL)]
    return group + [_event(op, None, after, index=0, last=True) for op, after in alone]


def _event(
    op: str, key: tuple[Value, ...] | None, after: msgspec.Raw, *, index: int, last: bool
) -> ChangeEvent:
    return ChangeEvent(
        version=EVENT_VERSION,
        op=op,
        table="" if op in (Op.HEARTBEAT, Op.SNAPSHOT, Op.END) else "episodes",
        key=NIL if key is None else msgspec.Raw(encode_values(key)),
        before=None,
        after=after,
        change_id=40 + index,
        ts_ms=1_767_225_600_000,
        epoch=_HEAD.epoch,
        epoch_nonce=_HEAD.epoch_nonce,
        prev=39,
        high=50,
        nonce=INTEGER_MAX,
        exact_at=55 if last else 50,
        index=index,
        last=last,
        writer=2**62,
        offset=100 + index,
        prev_nonce=INTEGER_MIN,
        settings=2**63 - 1,
        prev_settings=None if index else 0,
        exact_nonce=INTEGER_MIN if last else None,
        read_after=100,
        topic_id=INTEGER_MIN if last else 1,
    )


_CLASS_NAMES: Final = {
    type(None): "NULL",
    int: "INTEGER",
    float: "REAL",
    str: "TEXT",
    InvalidText: "TEXT",
    bytes: "BLOB",
}
_json = msgspec.json.encode

if __name__ == "__main__":
    VECTORS.write_bytes(vectors_text())

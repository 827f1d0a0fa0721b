"""The contract between the capture side and the apply side: events, rows, keys and values as bytes.

Imports neither side. ``vectors.json`` beside this file holds golden vectors for other languages.
"""

from schemas.codec import (
    RowEncoder,
    decode_definition,
    decode_event,
    decode_row,
    decode_values,
    encode_definition,
    encode_event,
    encode_event_json,
    encode_row,
    encode_values,
)
from schemas.definition import Column, TableDefinition
from schemas.event import EVENT_VERSION, NIL, ChangeEvent, Head, Op
from schemas.keys import (
    BadKeyError,
    begins_with,
    decode_key,
    encode_key,
    record_key,
    split_record_key,
    text_prefix,
)
from schemas.position import Position
from schemas.snapshot import (
    Announcement,
    Chunk,
    Database,
    Manifest,
    decode_announcement,
    decode_chunk,
    decode_manifest,
    decode_snapshot_record,
    encode_announcement,
    encode_chunk,
    encode_manifest,
)
from schemas.values import (
    InvalidText,
    Value,
    json_line,
    row_from_json,
    row_to_json,
    text_from_bytes,
    value_from_json,
    value_to_json,
)

__all__ = [
    "EVENT_VERSION",
    "NIL",
    "Announcement",
    "BadKeyError",
    "ChangeEvent",
    "Chunk",
    "Column",
    "Database",
    "Head",
    "InvalidText",
    "Manifest",
    "Op",
    "Position",
    "RowEncoder",
    "TableDefinition",
    "Value",
    "begins_with",
    "decode_announcement",
    "decode_chunk",
    "decode_definition",
    "decode_event",
    "decode_key",
    "decode_manifest",
    "decode_row",
    "decode_snapshot_record",
    "decode_values",
    "encode_announcement",
    "encode_chunk",
    "encode_definition",
    "encode_event",
    "encode_event_json",
    "encode_key",
    "encode_manifest",
    "encode_row",
    "encode_values",
    "json_line",
    "record_key",
    "row_from_json",
    "row_to_json",
    "split_record_key",
    "text_from_bytes",
    "text_prefix",
    "value_from_json",
    "value_to_json",
]

"""The published JSON Schema and AsyncAPI documents: as the types say, and true of events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource

from schemas.documents import (
    ASYNCAPI,
    EVENTS_SCHEMA,
    FIELD_TEXTS,
    asyncapi,
    document_text,
    events_schema,
)
from schemas.event import ChangeEvent
from schemas.vectors import VECTORS
from tests.support.node_parts import module_file

GOLDEN = json.loads(VECTORS.read_bytes())
SCHEMA = json.loads(EVENTS_SCHEMA.read_bytes())
EVENTS_PAGE = Path(__file__).parents[2] / "docs/events.md"


def validator(definition: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{definition}"})


def test_the_files_are_what_the_types_say():
    told = "write them anew: python -m schemas.documents"
    assert EVENTS_SCHEMA.read_bytes() == document_text(events_schema()), told
    assert ASYNCAPI.read_bytes() == document_text(asyncapi()), told


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_golden_event_is_one_in_both_encodings():
    for item in GOLDEN["events"]:
        validator("Event").validate(item["json"])
        validator("EventArray").validate(list(item["json"].values()))


def test_every_golden_value_key_row_and_document_is_one():
    for item in GOLDEN["values"]:
        validator("Value").validate(item["json"])
    for item in GOLDEN["keys"]:
        validator("Key").validate(item["json"])
    for item in GOLDEN["rows"]:
        validator("Row").validate(item["json"])
    validator("TableDefinition").validate(GOLDEN["definition"]["json"])
    validator("Announcement").validate(GOLDEN["announcement"]["json"])
    validator("Manifest").validate(GOLDEN["manifest"]["json"])
    chunk = GOLDEN["chunk"]["json"]
    rows = [list(row.values()) for row in chunk["rows"]]
    validator("Chunk").validate([rows if name == "rows" else field for name, field in chunk.items()])


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"op": "x"},
        {"key": 1},
        {"key": [True]},
        {"after": None},
        {"after": {"a": [1]}},
        {"after": {"a": {"$blob": 1}}},
        {"after": {"a": {"$real": "nan"}}},
        {"offset": "1"},
        {"last": 1},
        {"op": "d"},
        {"op": "h"},
        {"op": "t"},
    ],
    ids=json.dumps,
)
def test_what_is_no_event_is_refused(change: dict[str, Any]):
    event = next(item["json"] for item in GOLDEN["events"] if item["json"]["op"] == "u")
    wrong = {**event, **change}
    assert not validator("Event").is_valid(wrong)
    assert not validator("EventArray").is_valid(list(wrong.values()))


def test_an_event_without_one_of_its_fields_is_refused_and_one_with_more_is_not():
    event = GOLDEN["events"][0]["json"]
    for field in msgspec.structs.fields(ChangeEvent):
        less = {name: value for name, value in event.items() if name != field.name}
        assert validator("Event").is_valid(less) is not field.required
    assert validator("Event").is_valid({**event, "of_a_later_version": 1})
    assert validator("EventArray").is_valid([*event.values(), "of a later version"])


def test_every_field_is_described_where_it_stands_in_the_array():
    listed = re.findall(r"^\| ([0-9]+) \| `([a-z_]+)` \|", EVENTS_PAGE.read_text(), re.MULTILINE)
    assert listed == [(str(place), name) for place, name in enumerate(ChangeEvent.__struct_fields__)]
    assert list(FIELD_TEXTS) == list(ChangeEvent.__struct_fields__)


def test_the_asyncapi_document_keeps_to_its_specification():
    specification = json.loads(module_file("@asyncapi", "specs", "schemas", "3.0.0.json").read_bytes())
    Draft7Validator(specification).validate(json.loads(ASYNCAPI.read_bytes()))


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    document = json.loads(ASYNCAPI.read_bytes())
    registry = Registry().with_resources(
        [("asyncapi.json", Resource.opaque(document)), (EVENTS_SCHEMA.name, Resource.from_contents(SCHEMA))]
    )
    references = re.findall(r'"\$ref":\s*"([^"]+)"', ASYNCAPI.read_text())
    assert len(references) > len(document["channels"])
    for reference in references:
        registry.resolver("asyncapi.json").lookup(reference)

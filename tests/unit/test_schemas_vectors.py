from __future__ import annotations

import base64
import json

import msgspec
import pytest

from schemas.codec import decode_event, encode_event_json
from schemas.event import OPS, ChangeEvent
from schemas.keys import decode_key, encode_key
from schemas.rows import RowEncoder, decode_row, decode_values, encode_values
from schemas.values import InvalidText, row_from_json, value_from_json, values_from_json
from schemas.vectors import VECTORS, vectors_text
from tests.support.independent_reader import read_key, read_msgpack
from tests.support.sqlite_values import exact

GOLDEN = json.loads(VECTORS.read_bytes())

# By hand, from the tables of the msgpack specification and of schemas/keys.py.
BY_HAND = [
    (None, "c0", "01"),
    (0, "00", "028000000000000000"),
    (127, "7f", "02800000000000007f"),
    (128, "cc80", "028000000000000080"),
    (255, "ccff", "0280000000000000ff"),
    (256, "cd0100", "028000000000000100"),
    (65536, "ce00010000", "028000000000010000"),
    (2**32, "cf0000000100000000", "028000000100000000"),
    (2**63 - 1, "cf7fffffffffffffff", "02ffffffffffffffff"),
    (-1, "ff", "027fffffffffffffff"),
    (-32, "e0", "027fffffffffffffe0"),
    (-33, "d0df", "027fffffffffffffdf"),
    (-129, "d1ff7f", "027fffffffffffff7f"),
    (-32769, "d2ffff7fff", "027fffffffffff7fff"),
    (-(2**31) - 1, "d3ffffffff7fffffff", "027fffffff7fffffff"),
    (-(2**63), "d38000000000000000", "020000000000000000"),
    (0.0, "cb0000000000000000", "038000000000000000"),
    (-0.0, "cb8000000000000000", "037fffffffffffffff"),
    (1.0, "cb3ff0000000000000", "03bff0000000000000"),
    (-1.5, "cbbff8000000000000", "034007ffffffffffff"),
    ({"$real": "inf"}, "cb7ff0000000000000", "03fff0000000000000"),
    ({"$real": "-inf"}, "cbfff0000000000000", "03000fffffffffffff"),
    ("", "a0", "0400"),
    ("a", "a161", "046100"),
    ("\x00", "a100", "0400ff00"),
    ("a\x00b", "a3610062", "046100ff6200"),
    ("é", "a2c3a9", "04c3a900"),
    ("x" * 32, "d920" + "78" * 32, "04" + "78" * 32 + "00"),
    ("x" * 256, "da0100" + "78" * 256, "04" + "78" * 256 + "00"),
    ({"$text": "/w=="}, "d401ff", "04ff00"),
    ({"$text": "/wD+"}, "c70301ff00fe", "04ff00fffe00"),
    ({"$blob": ""}, "c400", "0500"),
    ({"$blob": "AP8="}, "c40200ff", "0500ffff00"),
    ({"$blob": base64.b64encode(b"\xff" * 256).decode()}, "c50100" + "ff" * 256, "05" + "ff" * 256 + "00"),
]


def as_read(form):
    """What the independent reader gives for a JSON form."""
    if isinstance(form, dict) and len(form) == 1:
        ((tag, content),) = form.items()
        if tag == "$blob":
            return base64.b64decode(content)
        if tag == "$text":
            return ("text", base64.b64decode(content))
        if tag == "$real":
            return float(content)
    if isinstance(form, dict):
        return {name: as_read(content) for name, content in form.items()}
    if isinstance(form, list):
        return [as_read(item) for item in form]
    return form


def test_the_file_is_what_the_code_writes():
    assert VECTORS.read_bytes() == vectors_text(), "write it anew: python -m schemas.vectors"


@pytest.mark.parametrize(("form", "packed", "key"), BY_HAND)
def test_a_vector_is_what_the_published_formats_say(form, packed, key):
    (vector,) = [item for item in GOLDEN["values"] if exact(item["json"]) == exact(form)]
    assert (vector["msgpack"], vector["key"]) == (packed, key)


def test_every_class_of_value_has_vectors():
    assert {item["class"] for item in GOLDEN["values"]} == {"NULL", "INTEGER", "REAL", "TEXT", "BLOB"}
    assert any(isinstance(value_from_json(item["json"]), InvalidText) for item in GOLDEN["values"])
    assert {item["json"]["op"] for item in GOLDEN["events"]} == OPS


def test_an_independent_reader_agrees_on_every_value_and_key():
    for item in GOLDEN["values"]:
        assert exact(read_msgpack(bytes.fromhex(item["msgpack"]))) == exact(as_read(item["json"]))
        assert exact(read_key(bytes.fromhex(item["key"]))) == exact([as_read(item["json"])])
    for item in GOLDEN["keys"]:
        assert exact(read_msgpack(bytes.fromhex(item["msgpack"]))) == exact(as_read(item["json"]))
        assert exact(read_key(bytes.fromhex(item["key"]))) == exact(as_read(item["json"]))
        assert bytes.fromhex(item["record_key"]) == b"episodes\x00" + bytes.fromhex(item["key"])


def test_an_independent_reader_agrees_on_every_row_and_document():
    for item in (*GOLDEN["rows"], GOLDEN["definition"], GOLDEN["announcement"], GOLDEN["manifest"]):
        assert exact(read_msgpack(bytes.fromhex(item["msgpack"]))) == exact(as_read(item["json"]))


def test_an_independent_reader_agrees_on_every_event():
    for item in GOLDEN["events"]:
        assert list(item["json"]) == list(ChangeEvent.__struct_fields__)
        assert exact(read_msgpack(bytes.fromhex(item["msgpack"]))) == exact(
            as_read(list(item["json"].values()))
        )


def test_an_independent_reader_agrees_on_a_chunk():
    fields = GOLDEN["chunk"]["json"]
    rows = [[bytes.fromhex(row["key"]), as_read(row["after"]), row["change_id"]] for row in fields["rows"]]
    assert exact(read_msgpack(bytes.fromhex(GOLDEN["chunk"]["msgpack"]))) == exact(
        [rows if name == "rows" else field for name, field in fields.items()]
    )


def test_our_own_reader_and_writer_agree_with_every_vector():
    for item in GOLDEN["values"]:
        value = value_from_json(item["json"])
        assert exact(decode_values(b"\x91" + bytes.fromhex(item["msgpack"]))) == exact([value])
        assert encode_values((value,)).hex() == "91" + item["msgpack"]
        assert encode_key((value,)).hex() == item["key"]
    for item in GOLDEN["keys"]:
        assert exact(decode_key(bytes.fromhex(item["key"]))) == exact(values_from_json(item["json"]))
    for item in GOLDEN["rows"]:
        row = row_from_json(item["json"])
        assert exact(decode_row(bytes.fromhex(item["msgpack"]))) == exact(row)
        assert RowEncoder(tuple(row)).encode(tuple(row.values())).hex() == item["msgpack"]


def test_an_event_is_the_same_from_its_json_form():
    for item in GOLDEN["events"]:
        event = decode_event(bytes.fromhex(item["msgpack"]))
        assert decode_event(msgspec.json.encode(item["json"])) == event
        assert json.loads(encode_event_json(event)) == item["json"]


def test_an_event_of_an_earlier_version_lacks_what_was_appended_since():
    later = [field.name for field in msgspec.structs.fields(ChangeEvent) if not field.required]
    assert later
    for item in (one for one in GOLDEN["events"] if one["json"]["parts"] == 1):
        fields = {name: value for name, value in item["json"].items() if name not in later}
        from_json = decode_event(msgspec.json.encode(fields))
        array = msgspec.msgpack.decode(bytes.fromhex(item["msgpack"]), type=list[msgspec.Raw])
        assert decode_event(msgspec.msgpack.encode(array[: len(fields)])) == from_json
        for field in msgspec.structs.fields(ChangeEvent):
            if field.name in later:
                assert getattr(from_json, field.name) == field.default


def test_values_and_keys_stand_in_the_order_of_their_keys():
    for section in ("values", "keys"):
        keys = [bytes.fromhex(item["key"]) for item in GOLDEN[section]]
        assert keys == sorted(set(keys))

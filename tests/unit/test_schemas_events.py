from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import (
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
from schemas.errors import BadEventError, UnsupportedVersionError
from schemas.event import CONTROL_OPS, EVENT_VERSION, NIL, OPS, ROW_OPS, ChangeEvent, Head, Op
from schemas.position import Position
from tests.support import sqlite_values
from tests.support.independent_reader import read_msgpack
from tests.support.sqlite_values import exact

integers = st.integers(0, 2**63 - 1)
raw_keys = sqlite_values.keys.map(lambda key: msgspec.Raw(encode_values(key)))
raw_rows = st.just(NIL) | sqlite_values.rows.map(
    lambda row: msgspec.Raw(encode_row(tuple(row), tuple(row.values())))
)
definitions = st.builds(
    TableDefinition,
    name=st.text(max_size=10),
    columns=st.lists(st.builds(Column, sqlite_values.column_names, st.sampled_from(["TEXT", "REAL"]))).map(
        tuple
    ),
    key=st.lists(sqlite_values.column_names, max_size=3).map(tuple),
    schema_version=integers,
)


def events(op, key, after):
    return st.builds(
        ChangeEvent,
        version=st.just(EVENT_VERSION),
        op=op,
        table=st.text(max_size=10),
        key=key,
        before=st.none(),
        after=after,
        **dict.fromkeys(
            (
                "change_id",
                "ts_ms",
                "epoch",
                "epoch_nonce",
                "prev",
                "high",
                "nonce",
                "exact_at",
                "index",
                "writer",
                "offset",
                "settings",
            ),
            integers,
        ),
        prev_settings=st.none() | integers,
        last=st.booleans(),
        prev_nonce=st.none() | integers,
        exact_nonce=st.none() | integers,
        read_after=st.none() | integers,
        topic_id=st.none() | integers,
    )


row_events = events(st.sampled_from(sorted(ROW_OPS)), raw_keys, raw_rows)
other_events = events(
    st.sampled_from([Op.TRUNCATE, Op.HEARTBEAT, Op.END]),
    st.just(NIL),
    definitions.map(lambda definition: msgspec.Raw(encode_definition(definition))) | st.just(NIL),
).map(lambda event: event if event.op == Op.TRUNCATE else msgspec.structs.replace(event, after=NIL))
all_events = row_events | other_events

PLAIN = ChangeEvent(
    version=1,
    op="u",
    table="t",
    key=msgspec.Raw(b"\x91\x01"),
    before=None,
    after=msgspec.Raw(b"\x81\xa1a\x02"),
    change_id=3,
    ts_ms=4,
    epoch=5,
    epoch_nonce=6,
    prev=7,
    high=8,
    nonce=9,
    exact_at=10,
    index=11,
    last=True,
    writer=12,
    offset=13,
    prev_nonce=14,
    settings=15,
    prev_settings=16,
    part=0,
    parts=1,
    exact_nonce=17,
    read_after=18,
    topic_id=-19,
)
PLAIN_HEX = (
    "dc001a01a175"  # version and op
    "a1749101c081a16102"  # table, key, before, after
    "030405060708090a0bc30c0d0e0f1000011112ed"
)


def test_an_event_is_an_array_of_its_fields_in_order():
    assert encode_event(PLAIN).hex() == PLAIN_HEX


@given(all_events)
def test_an_event_comes_back_exactly(event):
    assert decode_event(encode_event(event)) == event


@given(row_events)
def test_an_event_read_from_json_decodes_to_the_same_values(event):
    again = decode_event(encode_event_json(event))
    assert msgspec.structs.replace(again, key=NIL, after=NIL) == msgspec.structs.replace(
        event, key=NIL, after=NIL
    )
    assert exact(decode_values(again.key)) == exact(decode_values(event.key))
    if event.after == NIL:
        assert again.after == NIL
    else:
        assert exact(decode_row(again.after)) == exact(decode_row(event.after))


@given(other_events)
def test_a_control_event_comes_back_from_json(event):
    assert decode_event(encode_event_json(event)) == event


def test_an_event_in_json_names_its_fields():
    document = json.loads(encode_event_json(PLAIN))
    assert document["key"] == [1]
    assert document["after"] == {"a": 2}
    assert list(document) == list(ChangeEvent.__struct_fields__)


@given(row_events)
def test_an_independent_reader_finds_the_same_event(event):
    fields = read_msgpack(encode_event(event))
    assert len(fields) == len(ChangeEvent.__struct_fields__)
    for name, found in zip(ChangeEvent.__struct_fields__, fields, strict=True):
        expected = getattr(event, name)
        assert exact(found) == exact(
            read_msgpack(bytes(expected)) if isinstance(expected, msgspec.Raw) else expected
        )


def with_version(version: bytes) -> bytes:
    data = encode_event(PLAIN)
    return data[:3] + version + data[4:]


@pytest.mark.parametrize(
    "data",
    [
        with_version(b"\x02"),
        with_version(b"\xcd\x01\x00"),
        b'{"version":2,"epoch":1,"writer":5,"offset":9,"more":null}',
    ],
    ids=["2", "256", "JSON"],
)
def test_a_newer_major_version_asks_for_an_upgrade(data):
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_event(data)
    assert "upgrade" in caught.value.remedy


@pytest.mark.parametrize(
    "data", [b"\x91\x02", b"\x92\x02\xc3", b'{"version":2}', b'{"version":2,"offset":"x"}']
)
def test_a_strangers_record_is_not_taken_for_one_of_a_newer_version(data):
    with pytest.raises(BadEventError):
        decode_event(data)


@pytest.mark.parametrize("version", [b"\x00", b"\xff", b"\xc0", b"\xa12"])
def test_a_version_that_never_was_is_no_event(version):
    with pytest.raises(BadEventError):
        decode_event(with_version(version))


def test_fields_that_a_later_minor_version_appends_are_ignored():
    data = encode_event(PLAIN)
    assert decode_event(b"\xdc\x00\x1b" + data[3:] + b"\xa3new") == PLAIN
    document = json.loads(encode_event_json(PLAIN))
    assert decode_event(json.dumps({**document, "new": 1}).encode()) == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"{",
        b"{}",
        b'{"version":1}',
        b'{"version":1.5}',
        b"[1]",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b'{"version":1,"key":' + b"[" * 100_000,
        encode_event(msgspec.structs.replace(PLAIN, op="x")),
        encode_event_json(msgspec.structs.replace(PLAIN, op="x")),
        encode_event(PLAIN) + b"\x00",
        encode_event_json(PLAIN).replace(b'"key":[1]', b'"key":[true]'),
        encode_event_json(PLAIN).replace(b'"key":[1]', b'"key":1'),
        encode_event_json(PLAIN).replace(b'"after":{"a":2}', b'"after":[]'),
        encode_event_json(PLAIN).replace(b'"after":{"a":2}', b'"after":{"a":{"$blob":"!"}}'),
        encode_event_json(PLAIN).replace(b'"table":"t"', b'"table":"\xff"'),
    ],
)
def test_garbage_is_no_event(data):
    with pytest.raises(BadEventError):
        decode_event(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_event_or_refused(data):
    with contextlib.suppress(BadEventError, UnsupportedVersionError):
        decode_event(data)


@given(all_events, st.booleans(), st.data())
@example(PLAIN, False, None)
def test_a_damaged_event_is_an_event_or_refused(event, as_json, data):
    whole = encode_event_json(event) if as_json else encode_event(event)
    damaged = bytearray(whole)
    if data is not None:
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        damaged = damaged[: data.draw(st.integers(0, len(whole)))]
    try:
        found = decode_event(bytes(damaged))
    except (BadEventError, UnsupportedVersionError):
        return
    for decode, part in ((decode_values, found.key), (decode_row, found.after)):
        with contextlib.suppress(BadEventError):
            decode(part)


def test_an_error_does_not_show_what_was_in_the_record():
    secret = encode_event(msgspec.structs.replace(PLAIN, op="secret", table="secret"))
    for data in (secret, encode_event_json(PLAIN).replace(b'"t"', b'"secret",secret')):
        with pytest.raises(BadEventError) as caught:
            decode_event(data)
        assert "secret" not in str(caught.value)


def test_a_row_image_is_stored_without_decoding_it():
    row = encode_row(("a", "b"), (1, "x"))
    event = decode_event(encode_event(msgspec.structs.replace(PLAIN, after=msgspec.Raw(row))))
    assert bytes(event.after) == row


def test_the_head_of_a_group_says_where_it_leaves_a_reader():
    assert PLAIN.head == Head(
        epoch=5, epoch_nonce=6, change_id=8, nonce=9, exact_at=10, settings=15, exact_nonce=17
    )
    assert PLAIN.head.position == Position(5, 8)


def test_every_op_speaks_of_a_row_a_table_or_the_stream():
    named = {letter for name, letter in vars(Op).items() if name.isupper()}
    assert named == OPS == ROW_OPS | CONTROL_OPS | {Op.TRUNCATE}
    assert not ROW_OPS & CONTROL_OPS


@given(definitions)
def test_a_table_definition_comes_back(definition):
    assert decode_definition(encode_definition(definition)) == definition


def test_settings_that_a_later_version_adds_to_a_definition_are_ignored():
    later = {"name": "t", "columns": [{"name": "a", "affinity": "TEXT", "new": 1}], "key": ["a"], "later": 10}
    assert decode_definition(msgspec.msgpack.encode(later)) == TableDefinition(
        "t", (Column("a", "TEXT"),), ("a",)
    )


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x80", b"\x90", b"\xc1"])
def test_bytes_that_are_no_definition_are_refused(data):
    with pytest.raises(BadEventError):
        decode_definition(data)


def test_the_codec_offers_what_it_names():
    assert all(hasattr(codec, name) for name in codec.__all__)

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definition import Column, TableDefinition
from schemas.errors import BadEventError, UnsupportedVersionError
from schemas.event import Head
from schemas.keys import encode_key
from schemas.rows import decode_row, encode_row
from schemas.snapshot import (
    Announcement,
    Chunk,
    Database,
    Manifest,
    decode_announcement,
    decode_chunk,
    decode_manifest,
    decode_packed_chunk,
    decode_snapshot_record,
    encode_announcement,
    encode_chunk,
    encode_manifest,
    unpack_rows,
)

CHUNK = Chunk(1, 2, 3, "t", [(encode_key((1,)), msgspec.Raw(encode_row(("a",), (None,))), 4)])
MANIFEST = Manifest(version=1, snapshot=2, announcement_offset=3, first_offset=4, last_offset=5)
ANNOUNCEMENT = Announcement(
    snapshot=2,
    position=Head(1, 2, 3, 4, 5),
    from_offset=6,
    first_offset=7,
    last_offset=8,
    chunks=9,
    rows=10,
    tables=(TableDefinition("t", (Column("a", "TEXT"),), ("a",)),),
    database=Database(id="id", url="/app.db"),
)


def test_a_chunk_comes_back_with_its_rows_still_encoded():
    again = decode_chunk(encode_chunk(CHUNK))
    assert again == CHUNK
    assert decode_row(again.rows[0][1]) == {"a": None}


def test_a_chunk_whose_rows_were_left_packed_is_the_same_once_they_are_unpacked():
    assert unpack_rows(decode_packed_chunk(encode_chunk(CHUNK))) == CHUNK


def test_a_manifest_and_an_announcement_come_back():
    assert decode_manifest(encode_manifest(MANIFEST)) == MANIFEST
    assert decode_announcement(encode_announcement(ANNOUNCEMENT)) == ANNOUNCEMENT


def test_a_record_of_the_snapshot_topic_says_what_it_is():
    assert decode_snapshot_record(encode_chunk(CHUNK)) == CHUNK
    assert decode_snapshot_record(encode_manifest(MANIFEST)) == MANIFEST


def test_one_kind_of_record_is_refused_where_the_other_is_meant():
    with pytest.raises(BadEventError):
        decode_chunk(encode_manifest(MANIFEST))
    with pytest.raises(BadEventError):
        decode_manifest(encode_chunk(CHUNK))


@pytest.mark.parametrize(
    "data",
    [b"\x91\x02", b"\x81\xa7version\x02", b"\xde\x00\x01\xa7version\x02"],
    ids=["chunk", "manifest", "map 16"],
)
def test_a_snapshot_of_a_newer_major_version_asks_for_an_upgrade(data):
    with pytest.raises(UnsupportedVersionError):
        decode_snapshot_record(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc0", b"\x80", b"\x90", b"\x91\x00", b"\x91\x01", b"\x81\xa7version\x01", b"\x91" * 100_000],
)
def test_garbage_is_no_record_of_a_snapshot(data):
    for decode in (decode_snapshot_record, decode_chunk, decode_packed_chunk, decode_manifest):
        with pytest.raises(BadEventError):
            decode(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_announcement_or_refused(data):
    for decode in (decode_announcement, decode_snapshot_record):
        with contextlib.suppress(BadEventError, UnsupportedVersionError):
            decode(data)


@given(st.data())
def test_a_damaged_record_is_a_record_or_refused(data):
    whole = data.draw(st.sampled_from([encode_chunk(CHUNK), encode_manifest(MANIFEST)]))
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadEventError, UnsupportedVersionError):
        decode_snapshot_record(bytes(damaged[: data.draw(st.integers(0, len(whole)))]))

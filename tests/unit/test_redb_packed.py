"""The rows of a snapshot's chunk written as they lie there: the same as one by one, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers import _redb
from schemas.event import NIL
from schemas.keys import encode_key
from schemas.rows import encode_row
from schemas.snapshot import GONE
from tests.support.sqlite_values import values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consumers._redb import KeyType

Rows = list[tuple[bytes, msgspec.Raw, int]]

ROW = msgspec.Raw(encode_row(("a",), (1,)))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[_redb.Database]:
    with _redb.Database.create(tmp_path / "cache.redb", shared=False) as database:
        yield database


def packed(rows: Rows) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(rows))


def append(
    database: _redb.Database, data: msgspec.Raw, key_type: KeyType = "tuple"
) -> tuple[int | None, list[tuple[bytes, bytes, int]]]:
    """Appends to a new table; gives what the call said, and the table."""
    with database.begin() as transaction:
        transaction.truncate("t", key_type)
        said = transaction.append_packed("t", data)
        transaction.commit()
    with database.snapshot() as snapshot:
        return said, snapshot.scan("t", limit=1_000_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=20),
            st.lists(values, min_size=1, max_size=20),
            st.integers(0, 2**64 - 1),
        ),
        max_size=20,
    )
)
def test_packed_rows_are_written_as_single_ones_are(database: _redb.Database, drawn: list):
    rows: Rows = []
    for key, cells, change_id in drawn:
        columns = [f"c{number}" for number in range(len(cells))]
        rows.append((key, msgspec.Raw(encode_row(columns, cells)), change_id))
    said, found = append(database, packed(rows))
    expected = {key: (key, bytes(row), change_id) for key, row, change_id in rows}
    assert said == len(rows)
    assert found == sorted(expected.values())


@pytest.mark.parametrize("mark", [NIL, GONE], ids=["cannot be published", "gone"])
def test_a_chunk_with_a_mark_in_the_place_of_a_row_is_left_to_the_caller(
    database: _redb.Database, mark: msgspec.Raw
):
    assert append(database, packed([(b"a", ROW, 1), (b"b", mark, 2)])) == (None, [])


@pytest.mark.parametrize("key_type", ["text", "integer", "bytes"])
def test_a_key_that_the_table_cannot_hold_is_left_to_the_caller(database: _redb.Database, key_type: KeyType):
    keys: dict[str, bytes] = {
        "text": encode_key(("a",)),
        "integer": encode_key((1,)),
        "bytes": encode_key((b"a",)),
    }
    fitting = keys.pop(key_type)
    assert append(database, packed([(fitting, ROW, 1)]), key_type) == (1, [(fitting, bytes(ROW), 1)])
    for other in keys.values():
        both = sorted([(fitting, ROW, 1), (other, ROW, 1)], key=lambda row: row[0])
        assert append(database, packed(both), key_type) == (None, [])


def test_no_part_of_what_is_cut_off_or_garbled_is_written(database: _redb.Database):
    whole = bytes(packed([(b"a", ROW, 1), (b"b", ROW, 2**40)]))
    for length in range(len(whole)):
        assert append(database, msgspec.Raw(whole[:length])) == (None, [])
    assert append(database, msgspec.Raw(whole + b"\x00")) == (None, [])
    for other in ([1], [(b"a", {}, 1, 2)], [(b"a", {"a": 1}, -1)], [("a", {"a": 1}, 1)], {"a": 1}, None):
        assert append(database, msgspec.Raw(msgspec.msgpack.encode(other))) == (None, [])
    assert append(database, msgspec.Raw(b"\xdd\xff\xff\xff\xff")) == (None, [])
    assert append(database, msgspec.Raw(b"\x91\x93\xc4\x01a\xdf\xff\xff\xff\xff\x01")) == (None, [])

"""Which rows are the newest: the SQL of capture and the bytes of nodes put rows in one order."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cdc.capture.bounded import Newest
from cdc.capture.bounded_sql import limit_of, rows_of
from cdc.capture.table import KeyColumn, Table
from cdc.table_settings import TableSettings
from schemas import encode_key
from schemas.cells import cell_reader
from schemas.definition import Column
from schemas.order import encode_order, place
from schemas.rows import encode_row
from schemas.values import INTEGER_MAX, INTEGER_MIN, InvalidText, text_from_bytes

if TYPE_CHECKING:
    from schemas.values import Value

near = st.sampled_from(
    [0, 1, 2**53, 2**53 + 1, 2**60, 2**60 + 1, INTEGER_MAX, INTEGER_MAX - 1, INTEGER_MIN, INTEGER_MIN + 1]
)
numbers = st.one_of(
    st.integers(INTEGER_MIN, INTEGER_MAX),
    near,
    near.map(lambda number: -number if number > INTEGER_MIN else number),
    near.map(float),
    st.floats(allow_nan=False),
    st.integers(-3, 3),
)
texts = st.one_of(st.text(alphabet="aA\x00b\uffff", max_size=3), st.binary(max_size=3).map(text_from_bytes))
values = st.one_of(st.none(), numbers, texts, st.binary(max_size=3))


def parameter(value: object) -> object:
    return value.data if isinstance(value, InvalidText) else value


def table(affinity: str, collation: str = "BINARY") -> Table:
    key = KeyColumn("k", 1, affinity, collation)
    return Table(
        name="t",
        columns=(Column("v", "BLOB"), Column("k", affinity)),
        key=(key,),
        unique=False,
        rowid_alias=False,
        index=None,
        conflicts=(),
        fingerprint="",
        settings=TableSettings(keep=3, keep_by="v"),
    )


@pytest.mark.parametrize("affinity", ["TEXT", "BLOB", "INTEGER", "REAL", "NUMERIC"])
@settings(deadline=None)
@given(rows=st.lists(st.tuples(values, values), max_size=12))
@example(rows=[(2**53, 1), (2**53 + 1, 1), (float(2**53), 1), (2**53, 1.0)])
@example(rows=[(1, "a"), (1.0, "A"), (1, b"a"), (1, "a\x00"), (-0.0, "x"), (0, "y")])
def test_sql_and_bytes_put_rows_in_one_order(affinity: str, rows: list[tuple[object, object]]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.text_factory = text_from_bytes
    connection.execute(f"CREATE TABLE t (v BLOB COLLATE NOCASE, k {affinity} COLLATE NOCASE)")
    for value, key in rows:
        casts = ", ".join("CAST(? AS TEXT)" if isinstance(one, InvalidText) else "?" for one in (value, key))
        connection.execute(f"INSERT INTO t VALUES ({casts})", (parameter(value), parameter(key)))
    stored = [row for row in connection.execute("SELECT v, k FROM t") if row[1] is not None]
    # The key of a row that is stored under 0.0 may be -0.0, which SQL cannot tell apart.
    places = sorted({place(value, encode_key((_plain(key),))) for value, key in stored}, reverse=True)
    found: list[bytes] = []
    for skip in range(len(stored)):
        sql, args = rows_of(Newest(table(affinity), 1, skip))
        ((value, key),) = connection.execute(sql, args).fetchall()
        found.append(place(value, encode_key((_plain(key),))))
    assert list(dict.fromkeys(found)) == places
    sql, args = limit_of(table(affinity))
    limit = connection.execute(sql, args).fetchone()
    assert (limit is None) == (len(stored) < 3)
    if limit is not None:
        assert place(limit[0], encode_key((_plain(limit[1]),))) == found[2]
    connection.close()


def _plain(key: object) -> object:
    return 0.0 if key == 0 and isinstance(key, float) else key


@settings(deadline=None)
@given(a=values, b=values)
def test_the_order_of_bytes_is_sqlites_of_values(a: Value, b: Value) -> None:
    with sqlite3.connect(":memory:") as connection:
        sides = ["CAST(? AS TEXT)" if isinstance(one, InvalidText) else "?" for one in (a, b)]
        # The plus takes a cast's affinity away; NULL has no order of its own to ask for.
        sql = f"SELECT +{sides[0]} < +{sides[1]}, +{sides[0]} = +{sides[1]}"
        less, equal = connection.execute(sql, [parameter(one) for one in (a, b, a, b)]).fetchone()
    if a is None or b is None:
        less, equal = a is None and b is not None, a is b
    assert (encode_order(a) < encode_order(b)) == bool(less)
    assert (encode_order(a) == encode_order(b)) == bool(equal)


def test_values_one_of_which_begins_the_other_are_told_apart_by_the_key() -> None:
    # "a" with any key comes before "a" || NUL with any key.
    assert place("a", encode_key((INTEGER_MAX,))) < place("a\x00", encode_key((INTEGER_MIN,)))


@pytest.mark.parametrize("column", ["plain", 'with "quotes"', "ctrl\x01", "ümlaut", "", "cell"])
@settings(deadline=None)
@given(value=values)
def test_one_cell_is_read_without_the_rest(column: str, value: Value) -> None:
    row = encode_row(("before", column, "behind"), (b"x", value, [None][0]))
    assert cell_reader(column)(row) == value
    assert cell_reader(f"{column} not")(row) is None


def test_a_table_with_an_integer_key_orders_by_it() -> None:
    one = replace(table("INTEGER"), rowid_alias=True)
    sql, _ = rows_of(Newest(one, 1))
    assert "typeof" not in sql

"""KEY arguments become what SQLite stores for the same text in the key's columns."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.cli.key_arguments import ARGUMENTS, PARAMETERS, read_key
from schemas import Column, TableDefinition
from schemas.errors import UsageError

TEXTS = [
    "1",
    "-1",
    "+1",
    "007",
    " 5 ",
    "1.0",
    "1.5",
    "-0",
    "-0.0",
    "1e3",
    ".5",
    "5.",
    "1e400",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "123456789012345678901234567890",
    "9007199254740993.0",
    "2251799813685247.0",
    "4503599627370496.0",
    "abc",
    "",
    "0x10",
    "1_000",
    "inf",
    "nan",
    "1 2",
    "2024-01-01",
    "\u0663",
    "null",
]


def one(affinity: str) -> TableDefinition:
    return TableDefinition("t", (Column("k", affinity),), ("k",))


def stored(affinity: str, text: str) -> Any:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE TABLE t (k {affinity})")
        connection.execute("INSERT INTO t VALUES (?)", (text,))
        return connection.execute("SELECT k FROM t").fetchone()[0]
    finally:
        connection.close()


def agree(affinity: str, text: str) -> None:
    expected = stored(affinity, text)
    wanted = {"INTEGER": int, "REAL": float}.get(affinity)
    if wanted is not None and not isinstance(expected, wanted):
        with pytest.raises(UsageError, match="the key column k takes"):
            read_key(one(affinity), [text], None)
        return
    (value,) = read_key(one(affinity), [text], None)
    assert type(value) is type(expected)
    if isinstance(value, float):
        # SQLite reads some REALs one unit in the last place off; the nearest one is what it prints.
        assert value == pytest.approx(expected, rel=1e-15, abs=0.0)
        assert math.copysign(1.0, value) == math.copysign(1.0, expected)
    else:
        assert value == expected


@pytest.mark.parametrize("affinity", ["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_sqlite_stores_it(affinity: str, text: str):
    agree(affinity, text)


@given(
    st.sampled_from(["INTEGER", "REAL", "NUMERIC"]),
    st.one_of(
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.text("0123456789+-.eE ", max_size=12),
    ),
)
def test_any_number_is_read_as_sqlite_stores_it(affinity: str, text: str):
    agree(affinity, text)


def test_an_exact_key_is_taken_as_it_is():
    definition = TableDefinition("t", (Column("a", "INTEGER"), Column("b", "TEXT")), ("b", "a"))
    assert read_key(definition, [], '["1", 1.0]') == ("1", 1.0)
    assert read_key(definition, ["1", "1"], None) == ("1", 1)


@pytest.mark.parametrize(
    "exact", ["", "[", "1", "[1]", "[1, 2, 3]", "[1, [2]]", '[1, {"$blob": "?"}]', "[1, NaN]"]
)
def test_an_exact_key_that_is_none_is_refused(exact: str):
    definition = TableDefinition("t", (Column("a", "INTEGER"), Column("b", "TEXT")), ("b", "a"))
    with pytest.raises(UsageError):
        read_key(definition, [], exact)


@pytest.mark.parametrize(("words", "exact"), [(["1"], "[1]"), ([], "["), (["x"], None)])
def test_what_is_wrong_with_a_key_is_said_in_the_words_of_where_it_was_typed(
    words: list[str], exact: str | None
):
    definition = TableDefinition("t", (Column("a", "INTEGER"),), ("a",))
    for form, other in ((ARGUMENTS, PARAMETERS), (PARAMETERS, ARGUMENTS)):
        with pytest.raises(UsageError) as raised:
            read_key(definition, words, exact, form)
        assert form.exact in str(raised.value)
        assert other.exact not in str(raised.value)

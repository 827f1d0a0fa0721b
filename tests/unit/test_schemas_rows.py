from __future__ import annotations

import math
import sqlite3

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import BadEventError
from schemas.rows import RowEncoder, decode_row, decode_values, encode_row, encode_values
from schemas.values import InvalidText, text_from_bytes
from tests.support import sqlite_values
from tests.support.independent_reader import read_msgpack
from tests.support.sqlite_values import exact

EVERY_CLASS = {
    "null": None,
    "small": 1,
    "large": 2**63 - 1,
    "negative": -(2**63),
    "real": 1.0,
    "minus zero": -0.0,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "text": "a\x00é\U0001f600",
    "blob": b"\x00\xff",
    "no utf-8": InvalidText(b"a\xff\x00"),
}


def encoded(row: dict) -> bytes:
    return RowEncoder(tuple(row)).encode(tuple(row.values()))


@given(sqlite_values.rows)
@example(EVERY_CLASS)
def test_a_row_comes_back_exactly(row):
    assert exact(decode_row(encoded(row))) == exact(row)


@given(sqlite_values.rows)
@example(EVERY_CLASS)
def test_an_independent_reader_finds_the_same_row(row):
    expected = {
        name: ("text", value.data) if isinstance(value, InvalidText) else value for name, value in row.items()
    }
    assert exact(read_msgpack(encoded(row))) == exact(expected)


@given(sqlite_values.rows)
def test_a_row_has_one_encoding_whichever_encoder_wrote_it(row):
    assert encoded(row) == encode_row(tuple(row), tuple(row.values()))


@given(sqlite_values.rows, sqlite_values.rows)
def test_rows_that_differ_have_encodings_that_differ(one, other):
    if exact(one) != exact(other):
        assert encoded(one) != encoded(other)


@pytest.mark.parametrize(
    "name", ['a"b', "a\\b", "a\nb", "a\x00b", "\x7f", "", "class", "__init__", "f1", "type", "é"]
)
def test_a_column_may_have_any_name(name):
    row = {name: 1, "other": 2}
    assert decode_row(encoded(row)) == row


@pytest.mark.parametrize("count", [0, 1, 15, 16, 2000])
def test_a_row_may_have_as_many_columns_as_sqlite_allows(count):
    row = {f"column {index}": index for index in range(count)}
    assert decode_row(encoded(row)) == row


@pytest.mark.parametrize("columns", [("a", "b"), ('"a', '"b')])
@pytest.mark.parametrize("row", [(), (1,), (1, 2, 3)])
def test_a_row_of_the_wrong_width_is_refused(columns, row):
    with pytest.raises(ValueError):  # noqa: PT011 -- the message is for programmers, and dict's own in one case
        RowEncoder(columns).encode(row)
    with pytest.raises(ValueError):  # noqa: PT011 -- the same
        encode_row(columns, row)


@given(sqlite_values.keys)
def test_the_values_of_a_key_come_back_exactly(key):
    assert exact(decode_values(encode_values(key))) == exact(key)


@given(sqlite_values.rows)
def test_a_row_is_decoded_from_a_raw_part_of_an_event(row):
    assert exact(decode_row(msgspec.Raw(encoded(row)))) == exact(row)


@given(
    st.dictionaries(sqlite_values.column_names.filter(lambda name: "\x00" not in name), sqlite_values.values)
)
@example(EVERY_CLASS)
def test_what_sqlite_gives_back_survives_the_wire(row):
    connection = sqlite3.connect(":memory:")
    connection.text_factory = text_from_bytes
    marks = ["CAST(? AS TEXT)" if isinstance(value, InvalidText) else "?" for value in row.values()]
    stored = connection.execute(
        "SELECT " + ", ".join(["1", *marks]),
        [value.data if isinstance(value, InvalidText) else value for value in row.values()],
    ).fetchone()[1:]
    connection.close()
    assert exact(stored) == exact(tuple(row.values()))
    assert exact(tuple(decode_row(RowEncoder(tuple(row)).encode(stored)).values())) == exact(stored)


NO_ROWS = [
    b"",
    b"\xc0",
    b"\x90",
    b"\xc1",
    b"\x81\xa1a",
    b"\x81\xa1a\x90",
    b"\x81\xa1a\x80",
    b"\x81\xa1a\xc3",
    b"\x81\x01\x01",
    b"\x81\x90\x01",
    b"\x81\x80\x01",
    b"\x81\xa1\xff\x01",
    b"\x81\xa1a\xa1\xff",
    b"\x81\xa1a\xd4\x02\x00",
    b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    b"\x80\x80",
    b"\xdf\xff\xff\xff\xff",
    b"\x81\xa1a" + b"\x91" * 100_000,
]


@pytest.mark.parametrize("data", NO_ROWS)
def test_bytes_that_are_no_row_are_refused(data):
    with pytest.raises(BadEventError):
        decode_row(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x91",
        b"\x91\xc3",
        b"\x91\x90",
        b"\x91\xcf" + b"\xff" * 8,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_values_of_a_key_are_refused(data):
    with pytest.raises(BadEventError):
        decode_values(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_refused(data):
    try:
        row = decode_row(data)
    except BadEventError:
        return
    assert isinstance(row, dict)


@pytest.mark.parametrize("value", [object(), 1j, 2**64, "\ud800"])
def test_what_is_no_sqlite_value_is_not_encoded(value):
    with pytest.raises((TypeError, OverflowError, UnicodeEncodeError)):
        encode_values((value,))


def test_extension_text_that_is_utf_8_becomes_a_plain_string():
    assert decode_row(b"\x81\xa1a\xd4\x01b") == {"a": "b"}

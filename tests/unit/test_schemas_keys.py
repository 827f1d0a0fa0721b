from __future__ import annotations

import contextlib
import math
import sqlite3
import struct

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from schemas.keys import (
    BadKeyError,
    begins_with,
    decode_key,
    encode_key,
    record_key,
    split_record_key,
    text_prefix,
)
from schemas.values import InvalidText
from tests.support import sqlite_values
from tests.support.independent_reader import read_key
from tests.support.sqlite_values import exact


def stored(value) -> bytes:
    return (
        value.encode() if isinstance(value, str) else value.data if isinstance(value, InvalidText) else value
    )


def in_order(value):
    """A value as (class rank, comparable): what the order of keys is by definition."""
    if value is None:
        return (1,)
    if isinstance(value, int):
        return (2, value)
    if isinstance(value, float):
        return (3, value, math.copysign(1, value))
    return (5 if isinstance(value, bytes) else 4, stored(value))


@given(sqlite_values.keys, sqlite_values.keys)
@example(("a",), ("a\x00",))
@example(("a", 1), ("a\x00", 0))
@example((b"\x00",), (b"\x00\xff",))
@example((0.0,), (-0.0,))
@example((1,), (1.0,))
@example((None,), (None, None))
@example(("",), (InvalidText(b"\xff"),))
def test_keys_order_as_their_values_do(one, other):
    expected = [in_order(value) for value in one], [in_order(value) for value in other]
    keys = encode_key(one), encode_key(other)
    assert (keys[0] < keys[1]) == (expected[0] < expected[1])
    assert (keys[0] == keys[1]) == (exact(one) == exact(other))


@given(sqlite_values.keys)
def test_a_key_comes_back_exactly(key):
    assert exact(decode_key(encode_key(key))) == exact(key)


@given(sqlite_values.keys)
def test_an_independent_reader_finds_the_same_values(key):
    expected = [("text", value.data) if isinstance(value, InvalidText) else value for value in key]
    assert exact(read_key(encode_key(key))) == exact(expected)


@given(sqlite_values.keys, sqlite_values.keys)
def test_a_key_of_the_first_columns_is_a_prefix_of_the_whole_key(first, rest):
    assert encode_key(first + rest) == encode_key(first) + encode_key(rest)


@given(sqlite_values.keys, sqlite_values.keys)
@example(("",), ("\x00",))
@example(("a",), ("a", 1))
@example((b"a",), (b"a\x00\xff",))
def test_a_key_begins_with_another_only_when_its_values_do(one, other):
    begins = begins_with(encode_key(other), encode_key(one))
    assert begins == (exact(other)[: len(one)] == exact(one))


@given(sqlite_values.keys, st.lists(sqlite_values.keys, max_size=20))
@example(("a",), [("a",), ("a", 1), ("a\x00",), ("a\x00", 1), ("a", b"\xff")])
def test_keys_that_begin_with_given_values_lie_together_at_the_start_of_their_prefix(first, keys):
    start = encode_key(first)
    scanned = sorted(key for key in map(encode_key, keys) if key.startswith(start))
    found = [begins_with(key, start) for key in scanned]
    assert found == sorted(found, reverse=True)


@given(sqlite_values.texts, sqlite_values.texts)
def test_a_text_prefix_finds_the_texts_that_start_with_it(prefix, text):
    assert encode_key((text,)).startswith(text_prefix(prefix)) == text.startswith(prefix)


@given(st.binary(max_size=30))
@example(b"\x04a")
@example(b"\x04a\x00\xff")
@example(b"\x04\x00\x00")
@example(b"\x02\x80")
@example(b"\x03" + b"\xff" * 8)
@example(b"\x03\xff\xf8" + b"\x00" * 6)
@example(b"\x00")
def test_bytes_are_the_one_encoding_of_a_key_or_refused(data):
    try:
        key = decode_key(data)
    except BadKeyError:
        return
    assert encode_key(key) == data


@given(sqlite_values.keys, st.data())
def test_a_key_cut_short_never_passes_for_the_whole_key(key, data):
    encoded = encode_key(key)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with contextlib.suppress(BadKeyError):
        assert exact(decode_key(encoded[:cut])) != exact(key)


@pytest.mark.parametrize(
    "value",
    [True, False, math.nan, 2**63, -(2**63) - 1, "\ud800", "\x00\ud800", bytearray(b"a"), [1], {}, object()],
)
@pytest.mark.parametrize("before", [(), ("a",)])
def test_a_value_that_sqlite_cannot_hold_is_no_key(value, before):
    with pytest.raises(BadKeyError):
        encode_key((*before, value))


def test_an_error_does_not_show_the_value():
    with pytest.raises(BadKeyError) as caught:
        encode_key(("secret\ud800",))
    assert "secret" not in str(caught.value)


def test_keys_are_as_long_as_their_description_says():
    assert encode_key((1,)).hex() == "02" + "8000000000000001"
    assert encode_key((-1,)).hex() == "02" + "7fffffffffffffff"
    assert encode_key((1.0,)).hex() == "03" + "bff0000000000000"
    assert encode_key((-1.0,)).hex() == "03" + "400fffffffffffff"
    assert encode_key(("a\x00b",)).hex() == "04" + "61" + "00ff" + "62" + "00"
    assert encode_key((b"",)).hex() == "05" + "00"
    assert encode_key((None, InvalidText(b"\xff"))).hex() == "01" + "04" + "ff" + "00"


@given(st.lists(sqlite_values.values.filter(lambda value: value is not None), max_size=12))
def test_within_a_class_keys_order_as_sqlite_orders_the_values(values):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t(position INTEGER PRIMARY KEY, value)")
    for position, value in enumerate(values):
        if isinstance(value, InvalidText):
            connection.execute("INSERT INTO t VALUES(?, CAST(? AS TEXT))", (position, value.data))
        else:
            connection.execute("INSERT INTO t VALUES(?, ?)", (position, value))
    for kind in ("integer", "real", "text", "blob"):
        ordered = connection.execute("SELECT position FROM t WHERE typeof(value) = ? ORDER BY value", (kind,))
        # SQLite holds 0.0 and -0.0 for equal.
        keys = [encode_key((values[at] + 0.0 if kind == "real" else values[at],)) for (at,) in ordered]
        assert keys == sorted(keys)
    connection.close()


@given(
    st.text(alphabet=st.characters(exclude_characters="\x00", codec="utf-8"), max_size=10), sqlite_values.keys
)
def test_a_record_key_holds_table_and_key(table, key):
    assert split_record_key(record_key(table, encode_key(key))) == (table, encode_key(key))
    assert split_record_key(record_key(table, b"")) == (table, b"")


@pytest.mark.parametrize("data", [b"", b"table", b"\xff\x00\x01"])
def test_what_is_no_record_key_is_refused(data):
    with pytest.raises(BadKeyError):
        split_record_key(data)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_neighbouring_reals_stay_apart(one, other):
    assume(struct.pack(">d", one) != struct.pack(">d", other))
    assert encode_key((one,)) != encode_key((other,))

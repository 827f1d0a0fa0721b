from __future__ import annotations

import copy
import json
import math
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ExitCode
from schemas.values import (
    BadValueError,
    InvalidText,
    json_line,
    row_from_json,
    row_to_json,
    text_from_bytes,
    value_from_json,
    value_to_json,
    values_from_json,
    values_to_json,
)
from tests.support import sqlite_values
from tests.support.sqlite_values import exact

JSON_FORMS = [
    (None, "null"),
    (0, "0"),
    (2**63 - 1, "9223372036854775807"),
    (-(2**63), "-9223372036854775808"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (1e16, "1e16"),
    (0.1 + 0.2, "0.30000000000000004"),
    (math.inf, '{"$real":"inf"}'),
    (-math.inf, '{"$real":"-inf"}'),
    ("a\x00é", '"a\\u0000é"'),
    (b"", '{"$blob":""}'),
    (b"\x00\xff", '{"$blob":"AP8="}'),
    (InvalidText(b"\xff"), '{"$text":"/w=="}'),
]


@pytest.mark.parametrize(("value", "text"), JSON_FORMS)
def test_a_value_has_the_json_form_of_the_contract(value, text):
    assert json_line(value_to_json(value)) == text.encode() + b"\n"


@given(sqlite_values.values)
def test_every_value_comes_back_from_its_json_form_whichever_decoder_reads_it(value):
    line = json_line(value_to_json(value))
    assert line.count(b"\n") == 1
    assert exact(value_from_json(msgspec.json.decode(line))) == exact(value)
    assert exact(value_from_json(json.loads(line))) == exact(value)


@given(sqlite_values.reals.filter(math.isfinite))
def test_a_real_always_has_a_point_or_an_exponent(value):
    assert set(json_line(value_to_json(value))) & set(b".e")


@given(sqlite_values.rows, sqlite_values.keys)
def test_rows_and_keys_come_back_from_json(row, key):
    document = msgspec.json.decode(json_line({"key": values_to_json(key), "row": row_to_json(row)}))
    assert exact(row_from_json(document["row"])) == exact(row)
    assert exact(values_from_json(document["key"])) == exact(key)


@given(sqlite_values.values, sqlite_values.values)
def test_two_values_never_share_a_json_form(one, other):
    if exact(one) != exact(other):
        assert json_line(value_to_json(one)) != json_line(value_to_json(other))


@pytest.mark.parametrize(
    "form",
    [
        True,
        False,
        2**63,
        -(2**63) - 1,
        math.nan,
        [],
        {},
        {"$blob": "AA==", "$text": "AA=="},
        {"$blob": "A"},
        {"$blob": "A A="},
        {"$blob": "é"},
        {"$blob": 1},
        {"$text": None},
        {"$real": "nan"},
        {"$real": []},
        {"$integer": "1"},
        {"blob": "AA=="},
    ],
)
def test_what_is_no_json_form_of_a_value_is_a_usage_error(form):
    with pytest.raises(BadValueError) as caught:
        value_from_json(form)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("form", [None, [], 1, "a"])
def test_a_row_that_is_no_object_is_a_usage_error(form):
    with pytest.raises(BadValueError):
        row_from_json(form)


@pytest.mark.parametrize("form", [None, {}, 1, "a"])
def test_a_key_that_is_no_array_is_a_usage_error(form):
    with pytest.raises(BadValueError):
        values_from_json(form)


def test_an_error_does_not_show_the_value():
    with pytest.raises(BadValueError) as caught:
        value_from_json({"$blob": "se cret"})
    assert "cret" not in str(caught.value)


def test_tagged_text_that_is_utf_8_is_a_plain_string():
    assert value_from_json({"$text": "YQ=="}) == "a"


@given(st.binary(max_size=20))
def test_stored_text_becomes_a_str_exactly_when_it_is_utf_8(data):
    value = text_from_bytes(data)
    assert (value.encode() if isinstance(value, str) else value.data) == data


def test_invalid_text_refuses_what_a_str_can_hold():
    with pytest.raises(ValueError, match="valid UTF-8"):
        InvalidText(b"abc")


def test_invalid_text_is_an_immutable_value():
    one, same, other = InvalidText(b"\xff"), InvalidText(b"\xff"), InvalidText(b"\xfe")
    assert one == same
    assert one not in (other, b"\xff", "\xff")
    assert len({one, same, other}) == 2
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.data = b"\xfe"
    with pytest.raises(AttributeError):
        del one.data


def test_the_repr_of_invalid_text_keeps_the_cell_to_itself():
    assert "secret" not in repr(InvalidText(b"secret\xff"))

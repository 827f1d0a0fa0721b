"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc.units import (
    DURATION_S_MAX,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    parse_timeout,
)
from schemas.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("24h", 86_400.0),
        ("7d", 604_800.0),
        ("0s", 0.0),
        (" 30 s ", 30.0),
        ("0.1s", 0.1),
    ],
)
def test_a_duration_is_read(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "30", "-1s", "1e3s", "30S", "30 sec", "1h30m", "nan", "infs", "\u0663s", "1.s", "9" * 15 + "d"],
)
def test_what_is_no_duration_is_refused_with_what_is(text: str):
    with pytest.raises(UsageError, match='such as "250ms", "30s" or "24h"'):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("0.5", 0.5), ("0", 0.0), ("250ms", 0.25), (" 5 ", 5.0)]
)
def test_a_timeout_may_be_a_bare_number_of_seconds(text: str, seconds: float):
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize("text", ["", "-5", "soon"])
def test_what_is_no_timeout_is_refused(text: str):
    with pytest.raises(UsageError):
        parse_timeout(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250ms"),
        (30, "30s"),
        (86_400, "24h"),
        (90, "90s"),
        (604_800, "168h"),
        (0, "0s"),
        (1.5, "1500ms"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_says_it_whole(seconds: float, text: str):
    assert format_duration(seconds) == text


@given(st.integers(0, DURATION_S_MAX * 1000))
def test_a_duration_comes_back_as_it_was_written(milliseconds: int):
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("64MiB", 2**26), ("1.5KiB", 1536), ("10B", 10), ("2 GiB", 2**31)]
)
def test_a_size_is_read(text: str, size_bytes: int):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "64", "64MB", "64mib", "-1B", "0.3B", "9999999GiB"])
def test_what_is_no_size_is_refused_with_what_is(text: str):
    with pytest.raises(UsageError, match='such as "512KiB" or "64MiB"'):
        parse_size(text)


@given(st.integers(0, 2**50))
@example(2**50 - 1)
def test_a_size_comes_back_as_it_was_written(size_bytes: int):
    assert parse_size(format_size(size_bytes)) == size_bytes

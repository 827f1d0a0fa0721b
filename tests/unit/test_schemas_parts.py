"""Values that are split over records, and joined again within a limit."""

from __future__ import annotations

from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import parts
from schemas.errors import BadEventError
from schemas.parts import Joiner, parts_of, too_large


@given(st.binary(min_size=1, max_size=300), st.integers(1, 400))
def test_what_was_split_is_joined_again(value: bytes, part_bytes: int):
    count, pieces = parts_of(value, part_bytes)
    joiner = Joiner()
    whole = [joiner.add(part, count, piece) for part, piece in enumerate(pieces)]
    assert whole == [False] * (count - 1) + [True]
    assert joiner.take() == value
    assert not joiner.under_way


@given(st.binary(min_size=2, max_size=300), st.integers(1, 400))
def test_there_are_two_parts_at_least_and_none_is_too_large(value: bytes, part_bytes: int):
    count, pieces = parts_of(value, part_bytes)
    sizes = [len(msgspec.msgpack.decode(piece)) for piece in pieces]
    assert len(sizes) == count >= 2
    assert max(sizes) <= part_bytes


@pytest.mark.parametrize(
    ("part", "count"), [(0, 3), (2, 3), (1, 2), (1, 1)], ids=["again", "one left out", "of another", "past"]
)
def test_a_part_that_is_not_the_next_is_refused(part: int, count: int):
    joiner = Joiner()
    piece = msgspec.msgpack.encode(b"piece")
    joiner.add(0, 3, piece)
    with pytest.raises(BadEventError):
        joiner.add(part, count, piece)
    assert not joiner.under_way


def test_a_part_that_is_no_bin_is_refused():
    with pytest.raises(BadEventError):
        Joiner().add(0, 2, msgspec.msgpack.encode({"id": 1}))


def test_what_is_larger_than_a_row_may_be_is_not_held():
    with mock.patch.object(parts, "ROW_BYTES_MAX", 100):
        joiner = Joiner()
        count, pieces = parts_of(bytes(101), 10)
        for part, piece in enumerate(pieces):
            joiner.add(part, count, piece)
        assert joiner.take() is None
        assert too_large(101)
        assert not too_large(100)

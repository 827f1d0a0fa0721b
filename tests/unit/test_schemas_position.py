from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UsageError
from schemas.position import Position

numbers = st.integers(0, 2**63 - 1)
positions = st.builds(Position, numbers, numbers)


@given(positions)
def test_a_position_is_read_as_it_is_written(position):
    assert Position.parse(str(position)) == position


def test_a_position_is_written_as_epoch_and_change_id():
    assert str(Position(2, 4711)) == "2:4711"
    assert Position(2, 4711).to_json() == {"epoch": 2, "change_id": 4711}
    assert msgspec.msgpack.encode(Position(2, 3)).hex() == "920203"


@given(positions, positions)
def test_positions_order_by_epoch_first(one, other):
    assert (one < other) == ((one.epoch, one.change_id) < (other.epoch, other.change_id))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:",
        ":1",
        "1:2:3",
        "-1:2",
        "1:x",
        "1 : 2",
        "+1:2",
        "1_0:2",
        "²:1",
        "٣:1",
        "9223372036854775808:1",
    ],
)
def test_what_is_no_position_is_a_usage_error(text):
    with pytest.raises(UsageError):
        Position.parse(text)

"""When a node may call itself live."""

from __future__ import annotations

from msgspec.structs import replace

from consumers.live import Live
from consumers.meta import Checkpoint

CHECKPOINT = Checkpoint(1, 7, 10, 70, 10, 100, "d", "file:/app.db")
STALE_S = 60.0


def began() -> Live:
    """A node that began to read when its topic ended at 100, and did."""
    live = Live()
    live.begin_topic(100)
    live.read_to(100, 100, 1)
    return live


def test_it_is_live_when_a_group_that_arrived_in_its_life_ends_where_it_stands():
    live = began()
    assert live.state(CHECKPOINT, STALE_S) == "catching_up"
    live.read_to(101, 101, 2)
    assert live.state(CHECKPOINT, STALE_S) == "live"
    assert live.state(replace(CHECKPOINT, exact_at=11), STALE_S) == "catching_up"


def test_groups_of_what_it_is_ahead_of_do_not_show_that_its_rows_are_fresh():
    live = began()
    for end in range(101, 111):
        live.read_to(end, end, 1)
    assert live.lag_seconds is None
    assert live.state(CHECKPOINT, STALE_S) == "catching_up"


def test_after_a_subscription_anew_the_first_group_shows_it_again():
    live = began()
    live.read_to(101, 101, 2)
    live.begin_topic(101)
    first = live.lag_seconds
    assert first is not None
    live.read_to(102, 102, 1)
    live.begin_topic(102)
    live.read_to(103, 103, 1)
    assert live.state(CHECKPOINT, STALE_S) == "live"

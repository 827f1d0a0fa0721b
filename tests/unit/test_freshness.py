"""When a node may call itself live."""

from __future__ import annotations

import time

from msgspec.structs import replace

from consumers.live import Live
from consumers.meta import Checkpoint

CHECKPOINT = Checkpoint(1, 7, 10, 70, 10, 100, "d", "file:/app.db")
STALE_S = 60.0


def state(live: Live) -> str:
    return live.state(CHECKPOINT, STALE_S)


def fresh_at(live: Live) -> float:
    """The moment up to which everything published is known to be applied."""
    assert live.lag_seconds is not None
    return time.monotonic() - live.lag_seconds


def began() -> Live:
    """A node that began to read when its topic ended at 100, with a group that led it there, and did."""
    live = Live()
    live.begin_topic(100)
    live.read_to(100, 100, 100)
    return live


def test_it_is_live_when_a_group_that_arrived_in_its_life_ends_where_it_stands():
    live = began()
    assert state(live) == "catching_up"
    live.read_to(101, 101, 101)
    assert state(live) == "live"
    assert live.state(replace(CHECKPOINT, exact_at=11), STALE_S) == "catching_up"
    live.read_to(101, 102, 101)
    assert state(live) == "catching_up"


def test_groups_of_what_it_is_ahead_of_do_not_show_that_its_rows_are_fresh():
    live = began()
    for end in range(101, 111):
        live.read_to(end, end, 100)
    assert live.lag_seconds is None
    assert state(live) == "catching_up"


def test_an_old_group_shows_nothing_where_it_is_fetched_together_with_records_that_do_not_count():
    live = Live()
    live.begin_topic(100)
    live.read_to(106, 106, 100)
    assert state(live) == "catching_up"


def test_after_a_subscription_anew_the_first_group_shows_it_again():
    live = began()
    live.read_to(101, 101, 101)
    first = fresh_at(live)
    live.begin_topic(101)
    live.read_to(102, 102, 102)
    assert fresh_at(live) > first


def test_it_is_not_live_where_only_a_load_leads_on():
    live = began()
    live.read_to(101, 101, 101)
    live.barred()
    assert state(live) == "catching_up"
    live.read_to(101, 101, 101)
    assert state(live) == "live"

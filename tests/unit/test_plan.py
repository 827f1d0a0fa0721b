"""What a poll publishes, for every relation between a publication and the log."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cdc.capture import LogState
from cdc.plan import Changes, Idle, Load, NewEpoch, plan_poll
from tests.support.events import head, nonce_of


def log(high: int, prev: int | None, **changes: Any) -> LogState:
    state: dict[str, Any] = {
        "epoch": 1,
        "epoch_nonce": 11,
        "database_id": "db",
        "high": high,
        "high_nonce": nonce_of(high),
        "pruned_to": 0,
        "prev_nonce": None if prev is None else nonce_of(prev),
    }
    return LogState(**(state | changes))


def test_nothing_new_is_idle():
    assert plan_poll(head(5), log(5, 5)) == Idle()


def test_what_was_committed_since_is_published():
    assert plan_poll(head(5), log(9, 5)) == Changes(prev=5, high=9)


def test_a_publication_that_stands_nowhere_loads():
    assert isinstance(plan_poll(None, log(9, None)), Load)


def test_a_newer_epoch_of_the_log_is_loaded():
    assert isinstance(plan_poll(head(5), log(9, 5, epoch=2, epoch_nonce=3)), Load)


def test_a_log_that_ends_below_what_rows_were_read_at_begins_a_new_epoch():
    """A backup was restored, of before rows that are published though their group ended below them."""
    ahead = replace(head(5), exact_at=7)
    assert isinstance(plan_poll(ahead, log(5, 5)), NewEpoch)
    assert isinstance(plan_poll(ahead, log(6, 5)), NewEpoch)
    assert plan_poll(ahead, log(7, 5)) == Changes(prev=5, high=7)


def test_a_log_whose_row_up_to_which_rows_were_read_is_another_one_begins_a_new_epoch():
    """It was restored to below that, and has grown past it again."""
    ahead = replace(head(5), exact_at=7, exact_nonce=nonce_of(7))
    assert isinstance(plan_poll(ahead, log(9, 5, exact_nonce=1)), NewEpoch)
    assert isinstance(plan_poll(ahead, log(9, 5, exact_nonce=None)), NewEpoch)
    assert plan_poll(ahead, log(9, 5, exact_nonce=nonce_of(7))) == Changes(prev=5, high=9)


@pytest.mark.parametrize(
    "state",
    [
        log(9, 5, epoch_nonce=12),
        log(9, 5, epoch=0),
        log(4, None),
        log(9, 5, prev_nonce=1),
        log(9, None),
    ],
    ids=["another nonce", "an older epoch", "ends below", "rewritten", "the row is gone"],
)
def test_a_log_that_does_not_continue_the_publication_begins_a_new_epoch(state: LogState):
    plan = plan_poll(head(5), state)
    assert isinstance(plan, NewEpoch)
    assert plan.above == 1


def test_a_publication_below_the_pruned_log_loads_and_condemns_nobody():
    assert isinstance(plan_poll(head(5), log(9, None, pruned_to=7)), Load)


def test_a_publication_at_the_last_pruned_row_loads_and_above_it_goes_on():
    assert isinstance(plan_poll(head(7), log(9, None, pruned_to=7)), Load)
    assert plan_poll(head(8), log(9, 8, pruned_to=7)) == Changes(prev=8, high=9)

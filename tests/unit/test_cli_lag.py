"""How far a cache is behind, and when that is unknown."""

from __future__ import annotations

import msgspec
import pytest

from cdc.capture import Backlog, LogState
from cdc.cli.lag import LEVEL, Lag, lag_behind_source, lag_behind_topic, whole_lag
from consumers.meta import Checkpoint
from schemas.event import Head

HEAD = Head(epoch=2, epoch_nonce=7, change_id=10, nonce=70, exact_at=10)
STATE = LogState(epoch=2, epoch_nonce=7, database_id="d", high=13, high_nonce=73, pruned_to=0, prev_nonce=70)
BACKLOG = Backlog(rows=13, pending=3, oldest_ms=5_000)
CHECKPOINT = Checkpoint(2, 7, 10, 70, 10, 100, "d", "file:/app.db")


def test_what_is_in_the_log_above_the_head_is_counted_with_its_age():
    assert lag_behind_source(HEAD, STATE, BACKLOG, 7.5) == Lag(3, 2.5)
    level = msgspec.structs.replace(STATE, high=10, high_nonce=70)
    assert lag_behind_source(HEAD, level, Backlog(10, 0, None), 7.5) == LEVEL


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1, "epoch_nonce": 6},
        {"epoch": 3, "epoch_nonce": 8},
        {"epoch_nonce": 8},
        {"high": 9},
        {"prev_nonce": 71},
        {"prev_nonce": None},
        {"pruned_to": 11},
    ],
    ids="-".join,
)
def test_a_log_that_does_not_lead_on_tells_no_lag(change: dict[str, int | None]):
    lag = lag_behind_source(HEAD, msgspec.structs.replace(STATE, **change), BACKLOG, 7.5)
    assert lag.events is lag.seconds is None
    assert lag.reason


def test_a_source_that_does_not_answer_or_a_topic_without_changes_tells_no_lag():
    assert lag_behind_source(HEAD, None, None, 7.5).events is None
    assert lag_behind_source(None, STATE, BACKLOG, 7.5).events is None
    assert lag_behind_topic(CHECKPOINT, HEAD, None).events is None
    assert lag_behind_topic(CHECKPOINT, None, 100).events is None


def test_records_behind_the_end_of_the_chain_are_no_lag():
    assert lag_behind_topic(CHECKPOINT, HEAD, 140) == LEVEL
    ahead = msgspec.structs.replace(HEAD, change_id=12, nonce=72)
    assert lag_behind_topic(CHECKPOINT, ahead, 140) == Lag(40)
    later = msgspec.structs.replace(HEAD, epoch=3, change_id=1)
    assert lag_behind_topic(CHECKPOINT, later, 140) == Lag(40)


@pytest.mark.parametrize(
    "change",
    [{"change_id": 9}, {"nonce": 71}, {"epoch": 1}, {"epoch_nonce": 8}],
    ids="-".join,
)
def test_a_topic_that_went_back_or_is_another_tells_no_lag(change: dict[str, int]):
    assert lag_behind_topic(CHECKPOINT, msgspec.structs.replace(HEAD, **change), 140).events is None


def test_a_topic_that_goes_on_from_another_history_tells_no_lag():
    ahead = msgspec.structs.replace(HEAD, change_id=12)
    lag = lag_behind_topic(CHECKPOINT, ahead, 140, leads_on=False)
    assert lag.events is None
    assert lag.reason is not None
    assert "history" in lag.reason


def test_what_the_poller_has_not_published_yet_is_counted_too():
    assert whole_lag(LEVEL, Lag(3, 2.5)) == Lag(3, 2.5)
    assert whole_lag(Lag(40), Lag(3, 2.5)) == Lag(43, None)
    assert whole_lag(Lag(40), Lag(reason="it is away")) == Lag(reason="it is away")
    assert whole_lag(Lag(reason="it is empty"), Lag(3, 2.5)) == Lag(reason="it is empty")

"""For how long a poller that stands by waits before it takes over."""

from __future__ import annotations

import msgspec
import pytest

from cdc import limits
from cdc.kafka import standby
from cdc.kafka.chain import ChainEnd
from cdc.kafka.standby import Patience
from tests.support.events import head

SILENT = ChainEnd(head(5), 100, writer=1)
LEFT = ChainEnd(head(5), 100, writer=1, said_goodbye=True)


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby.random, "random", lambda: 1.0)


def stood_by(times: int, end: ChainEnd) -> Patience:
    subject = Patience()
    for _ in range(times):
        subject.stand_by()
        subject.seconds(end)
    return subject


def test_a_goodbye_is_answered_sooner_than_silence():
    assert stood_by(1, LEFT).seconds(LEFT) < stood_by(1, SILENT).seconds(SILENT)


@pytest.mark.parametrize("end", [SILENT, LEFT], ids=["silence", "a goodbye"])
def test_after_taking_over_in_vain_the_jitter_grows_up_to_a_limit(end: ChainEnd):
    waits = [stood_by(times, end).seconds(end) for times in range(1, limits.STANDBY_DOUBLINGS_MAX + 4)]
    assert waits[:3] == sorted(set(waits[:3]))
    assert waits[-1] == waits[-2]


def test_looking_again_while_standing_by_does_not_make_it_longer():
    subject = stood_by(1, LEFT)
    assert [subject.seconds(LEFT) for _ in range(3)] == [subject.seconds(LEFT)] * 3


@pytest.mark.parametrize(
    "end", [msgspec.structs.replace(LEFT, head=head(6)), msgspec.structs.replace(LEFT, writer=2)]
)
def test_where_another_group_counts_since_it_was_not_in_vain(end: ChainEnd):
    subject = stood_by(4, LEFT)
    subject.stand_by()
    assert subject.seconds(end) == stood_by(1, LEFT).seconds(LEFT)

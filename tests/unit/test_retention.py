"""When a new snapshot is due."""

from __future__ import annotations

import pytest

from cdc import limits
from cdc.kafka.retention import UNKNOWN, Looks, Retention, Standing, read_retention, renewal_reason

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("standing", "retention", "due"),
    [
        (Standing(0, 0), Retention(24 * HOUR_MS, None), False),
        (Standing(11 * HOUR_MS, 0), Retention(24 * HOUR_MS, None), False),
        (Standing(13 * HOUR_MS, 0), Retention(24 * HOUR_MS, None), True),
        (Standing(10_000 * HOUR_MS, 1 << 50), Retention(None, None), False),
        (Standing(0, 400), Retention(None, 1000), False),
        (Standing(0, 600), Retention(None, 1000), True),
        (Standing(13 * HOUR_MS, 0), Retention(24 * HOUR_MS, 1000), True),
        (Standing(11 * HOUR_MS, 0), UNKNOWN, False),
        (Standing(13 * HOUR_MS, 0), UNKNOWN, True),
    ],
)
def test_a_snapshot_is_due_when_half_of_the_retention_is_used_up(
    standing: Standing, retention: Retention, due: bool
):
    assert (renewal_reason(standing, retention) is not None) == due


@pytest.mark.parametrize(
    ("config", "retention"),
    [
        ({"retention.ms": "604800000", "retention.bytes": "-1"}, Retention(604_800_000, None)),
        ({"retention.ms": "-1", "retention.bytes": "1073741824"}, Retention(None, 1 << 30)),
        ({}, Retention(None, None)),
    ],
)
def test_retention_is_read_as_kafka_writes_it(config: dict[str, str], retention: Retention):
    assert read_retention(config) == retention


@pytest.mark.parametrize(
    ("ms", "seconds"),
    [(None, 60.0), (7 * 24 * HOUR_MS, 60.0), (100_000, 5.0), (1, limits.SNAPSHOT_LOOK_SECONDS_MIN)],
)
def test_the_shorter_the_retention_the_oftener_it_is_looked_at(ms: int | None, seconds: float):
    assert Retention(ms, None).look_seconds == seconds


def test_where_size_is_limited_a_look_is_due_when_a_part_of_it_was_sent():
    looks = Looks()
    looks.sent(1 << 40)
    assert not looks.sent_much, "nobody has said yet how much is kept"
    looks.looked(Retention(None, limits.LOOKS_A_RETENTION * 100))
    looks.sent(99)
    assert not looks.sent_much
    looks.sent(1)
    assert looks.sent_much
    looks.looked(None)
    assert not looks.sent_much, "it begins anew"
    looks.sent(100)
    assert looks.sent_much, "what was said before still holds"

"""Deciding when a new snapshot is due: before retention drops the changes that the newest one needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc import limits
from schemas.errors import KafkaUnavailableError
from schemas.kafka_admin import Admin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from schemas.manifests import FoundSnapshot
    from schemas.topics import TopicReader


class Retention(msgspec.Struct, frozen=True):
    """How long, and how much of, a topic is kept: milliseconds and bytes, None without a limit."""

    ms: int | None
    bytes: int | None

    @property
    def look_seconds(self) -> float:
        """How often to look at it: many times within the retention, however short that is."""
        if self.ms is None:
            return limits.SNAPSHOT_LOOK_SECONDS
        often = self.ms / 1000 / limits.LOOKS_A_RETENTION
        return max(limits.SNAPSHOT_LOOK_SECONDS_MIN, min(limits.SNAPSHOT_LOOK_SECONDS, often))

    @property
    def look_bytes(self) -> int | None:
        """After how many bytes sent to look at it, too; None where its size is not limited."""
        return None if self.bytes is None else self.bytes // limits.LOOKS_A_RETENTION


UNKNOWN = Retention(limits.RETENTION_UNKNOWN_MS, None)
"""Of a topic whose settings we may not see."""


class Looks:
    """When to look at a topic's retention again: ``seconds`` after the last time, or once much was sent."""

    def __init__(self) -> None:
        self.seconds = limits.SNAPSHOT_LOOK_SECONDS
        self._bytes: int | None = None
        self._sent_bytes = 0

    def looked(self, retention: Retention | None) -> None:
        """Take note of a look; None where nobody answered."""
        if retention is not None:
            self.seconds, self._bytes = retention.look_seconds, retention.look_bytes
        self._sent_bytes = 0

    def sent(self, size_bytes: int) -> None:
        """Take note of records that were sent."""
        self._sent_bytes += size_bytes

    @property
    def sent_much(self) -> bool:
        """Whether so much was sent since the last look that retention by size may be near."""
        return self._bytes is not None and self._sent_bytes >= self._bytes


class Standing(msgspec.Struct, frozen=True):
    """What lies between the newest snapshot and the topic's end.

    ``age_ms`` is that of the oldest record that a reader of the snapshot needs, ``needed_bytes`` an estimate
    of all of them, before compression.
    """

    age_ms: int
    needed_bytes: int


def renewal_reason(standing: Standing, retention: Retention) -> str | None:
    """Why a new snapshot is due now; None where there is time.

    What a reader of the newest snapshot needs must be well within the retention: the next one takes a while.
    """
    if retention.ms is not None and standing.age_ms > limits.RENEW_FRACTION * retention.ms:
        hours = retention.ms / 3_600_000
        return f"the changes since the newest snapshot are kept for {hours:g} h, and half of that is over"
    if retention.bytes is not None and standing.needed_bytes > limits.RENEW_FRACTION * retention.bytes:
        return (
            f"the changes since the newest snapshot take half of the {retention.bytes:,} bytes that are kept"
        )
    return None


def read_retention(config: Mapping[str, str]) -> Retention:
    """Read a topic's settings, as Kafka has them."""
    ms, size = int(config.get("retention.ms", "-1")), int(config.get("retention.bytes", "-1"))
    return Retention(None if ms < 0 else ms, None if size < 0 else size)


async def topic_retention(admin_options: dict[str, Any], topic: str) -> Retention | None:
    """Ask for a topic's retention; `UNKNOWN` where that is not told to us, None where nobody answers now."""
    try:
        async with Admin(admin_options) as admin:
            configs = await admin.configs([topic])
    except KafkaUnavailableError:
        return None
    return read_retention(configs[topic]) if topic in configs else UNKNOWN


async def read_standing(
    reader: TopicReader, topic: str, found: FoundSnapshot, now_ms: int | None, *, sized: bool
) -> Standing:
    """Measure what lies behind a snapshot.

    Args:
        reader: an open one.
        topic: of the events.
        found: the newest snapshot.
        now_ms: Unix time; None: that of the topic's newest record, which is by the clock that decides.
        sized: estimate the bytes, too; it costs a few more reads.
    """
    start, end = await reader.bounds(topic)
    first = max(start, found.announcement.from_offset)
    if first >= end:
        return Standing(0, 0)
    oldest, newest = await reader.record(topic, first), await reader.record(topic, end - 1)
    if oldest is None or newest is None:
        return Standing(0, 0)
    now_ms = newest.timestamp if now_ms is None else max(now_ms, newest.timestamp)
    size = await _estimated_bytes(reader, topic, first, end) if sized else 0
    return Standing(max(0, now_ms - oldest.timestamp), size)


async def _estimated_bytes(reader: TopicReader, topic: str, first: int, end: int) -> int:
    count = end - first
    sizes: list[int] = []
    for number in range(limits.SIZE_SAMPLES):
        record = await reader.record(topic, first + number * (count - 1) // (limits.SIZE_SAMPLES - 1))
        if record is not None:
            sizes.append(len(record.key or b"") + len(record.value or b""))
    return sum(sizes) * count // max(1, len(sizes))

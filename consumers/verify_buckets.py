"""Digests of rows by bucket of their key, so that only buckets that differ are compared key by key."""

from __future__ import annotations

import hashlib
import zlib

BUCKETS = 4096
"""Buckets of a table, by the CRC-32 of the key."""

SUSPECT_ROWS_MAX = 200_000
"""Rows of differing buckets that are compared key by key."""


class Buckets:
    """Order-independent digests of rows, by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.sums = [0] * BUCKETS

    def add(self, key: bytes, row: bytes) -> None:
        """Adds a row."""
        bucket = bucket_of(key)
        self.counts[bucket] += 1
        self.sums[bucket] += int.from_bytes(row_digest(key, row))

    def differing(self, other: Buckets) -> list[int]:
        """The buckets that do not hold the same rows on both sides."""
        return [
            bucket
            for bucket in range(BUCKETS)
            if self.counts[bucket] != other.counts[bucket] or self.sums[bucket] != other.sums[bucket]
        ]


def suspects(theirs: Buckets, ours: Buckets, differing: list[int]) -> list[int]:
    """As many of the differing buckets as may be compared key by key."""
    chosen: list[int] = []
    rows = 0
    for bucket in differing:
        rows += max(theirs.counts[bucket], ours.counts[bucket])
        if chosen and rows > SUSPECT_ROWS_MAX:
            break
        chosen.append(bucket)
    return chosen


def bucket_of(key: bytes) -> int:
    """The bucket that a key belongs to."""
    return zlib.crc32(key) % BUCKETS


def row_digest(key: bytes, row: bytes) -> bytes:
    """A digest of a key and its row, 8 bytes."""
    digest = hashlib.blake2b(len(key).to_bytes(4), digest_size=8)
    digest.update(key)
    digest.update(row)
    return digest.digest()

"""A rebuild under readers and a live writer: no read fails, and whoever dies in it leaves nothing behind."""

from __future__ import annotations

import os
import random
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.commands import Running, cdc
from tests.support.conditions import wait_until
from tests.support.deployment import EMBEDDED, Deployment
from tests.support.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

_ROWS = {"small": 20_000, "full": 2_000_000}
"""``CDC_TEST_SCALE=full`` runs what the project promises; the suite runs a small one."""
_KILLS = 10
_LIMIT_S = 120.0


@pytest.mark.slow
def test_no_read_fails_while_a_running_node_rebuilds_and_while_rebuilds_are_killed(tmp_path: Path):
    rows = _ROWS[os.environ.get("CDC_TEST_SCALE", "small")]
    seed = int(os.environ.get("CDC_TEST_SEED", random.randrange(2**32)))
    sys.stdout.write(f"again with: CDC_TEST_SEED={seed}\n")
    generator = random.Random(seed)
    source = tmp_path / "bank.db"
    make_bank(source, rows, generator)
    with Deployment(tmp_path, source, "", "") as deployment:
        cache = deployment.cache(EMBEDDED)
        flags = ("--source", source, "--cache", cache, "--node", EMBEDDED)
        cdc("sync", *flags)
        with Writers(source, seed) as writers, Reader(cache) as reader:
            deployment.start(EMBEDDED)
            control = cache.with_name(f"{cache.name}.ctl")
            wait_until(control.exists, _LIMIT_S, "the node can be asked")
            rebuilt = cdc("rebuild", "--json", *flags)
            assert rebuilt.json["rows"] >= rows
            reader.check_alive()
            deployment.stop()

            for _ in range(_KILLS):
                with Running(tmp_path, "rebuild", *flags) as rebuild:
                    # Anywhere in its life: while it starts, loads, swaps, or just after. Leaving kills it.
                    ends = time.monotonic() + generator.random() * rebuilt.seconds
                    wait_until(lambda ends=ends: time.monotonic() > ends, _LIMIT_S, "the moment to die")
                reader.check_alive()
                assert rebuild.records is not None
                assert cache.exists()
            writers.stop()
            cdc("sync", *flags)
            assert leftovers(cache) == set()
            assert reader.stop() > 0
        deployment.assert_equal((EMBEDDED,))


def test_what_a_killed_load_left_behind_goes_with_the_next_start_of_a_node(tmp_path: Path):
    source, cache = tmp_path / "bank.db", tmp_path / "cache.redb"
    make_bank(source, 4, random.Random(1))
    cdc("sync", "--source", source, "--cache", cache)
    left, neighbours = tmp_path / "cache.redb.0123abcd.loading", tmp_path / "cache.redb.old.loading"
    left.touch()
    neighbours.touch()
    cdc("sync", "--source", source, "--cache", cache)
    assert leftovers(cache) == {neighbours.name}


def leftovers(cache: Path) -> set[str]:
    """What a rebuild may have left beside the cache."""
    return {path.name for path in cache.parent.glob(f"{cache.name}*")} - {cache.name, f"{cache.name}.lock"}

"""Whatever is killed, and whenever: every cache shows whole transactions only, and ends equal."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.conditions import wait_until
from tests.support.deployment import NODES, POLLER, Deployment
from tests.support.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


@dataclass(frozen=True)
class Scale:
    """``CDC_TEST_SCALE=full`` runs what the project promises; the suite runs a small one."""

    rows: int
    kills: int
    transactions_between: int
    bulk: int
    limit_s: float


SCALES = {
    "small": Scale(rows=2_000, kills=10, transactions_between=300, bulk=100, limit_s=60.0),
    "full": Scale(rows=100_000, kills=20, transactions_between=2_000, bulk=1_500, limit_s=600.0),
}


@pytest.mark.slow
def test_nodes_are_equal_after_kills_at_random_moments_under_live_writes(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    scale = SCALES[os.environ.get("CDC_TEST_SCALE", "small")]
    seed = int(os.environ.get("CDC_TEST_SEED", random.randrange(2**32)))
    say(f"again with: CDC_TEST_SEED={seed}")
    generator = random.Random(seed)
    source = tmp_path / "bank.db"
    make_bank(source, scale.rows, generator)
    with (
        Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment,
        Writers(source, seed, bulk=scale.bulk) as writers,
        Watcher(deployment, NODES) as watcher,
    ):
        deployment.start(POLLER, *NODES)
        for number in range(scale.kills):
            if number == len(deployment.parts):
                # So far parts were killed while they started; from now on they have something to show.
                wait_until(lambda: watcher.saw(NODES), scale.limit_s, "every node shows the bank")
            writers.wait_for(1 + generator.randrange(scale.transactions_between), scale.limit_s)
            victim = generator.choice(list(deployment.parts))
            say(f"kill {number + 1}: {victim}, transactions {writers.transactions}, dumps {watcher.dumps}")
            deployment.parts[victim].kill()
            deployment.start(victim)
        writers.wait_for(scale.transactions_between, scale.limit_s)
        writers.stop()
        began = time.monotonic()
        deployment.wait_until_level(limit_s=scale.limit_s)
        say(f"{writers.transactions} transactions; level after {time.monotonic() - began:.1f} s")
        deployment.stop()
        deployment.assert_equal()
        say(f"equal; {watcher.dumps} dumps in between were whole")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

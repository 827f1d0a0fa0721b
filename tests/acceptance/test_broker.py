"""A broker that is away, late, killed or silent: waited for, and what was promised is kept."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.commands import GAVE_UP, OPERATOR, cdc
from tests.support.deployment import KAFKA_NODES, POLLER, Deployment
from tests.support.ports import free_port
from tests.support.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_TIMEOUT_S = 2.0
"""--timeout of the commands that are to give up."""
_MORE_S_MAX = 8.0
"""What starting Python, one last try and closing clients may add to --timeout on a busy machine."""


@pytest.mark.slow
def test_everything_goes_on_after_the_broker_came_late_and_was_killed_under_load(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 400, random.Random(1))
    kafka.kill()
    with (
        Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment,
        Writers(source, 6) as writers,
        Watcher(deployment, KAFKA_NODES) as watcher,
    ):
        deployment.start(POLLER, *KAFKA_NODES)
        for part in deployment.parts.values():
            part.wait_for("trying again")
        kafka.restart()
        deployment.wait_for_load(KAFKA_NODES)
        for _ in range(2):
            writers.wait_for(100)
            kafka.kill()
            writers.wait_for(100)
            kafka.restart()
        writers.wait_for(100)
        writers.stop()
        deployment.wait_until_level(KAFKA_NODES)
        assert watcher.saw(KAFKA_NODES)
        deployment.stop()
        deployment.assert_equal(KAFKA_NODES)


@pytest.mark.parametrize(
    "command",
    [("poll", "--once"), ("consume", "--once"), ("rebuild", "--from", "kafka")],
    ids=lambda command: command[0],
)
def test_a_one_shot_command_without_a_broker_gives_up_after_its_timeout(
    command: tuple[str, ...], tmp_path: Path
):
    finished = one_shot(tmp_path, command, f"127.0.0.1:{free_port()}", GAVE_UP)
    assert finished.seconds < _TIMEOUT_S + _MORE_S_MAX


def test_a_one_shot_command_gives_up_on_a_broker_that_does_not_answer(kafka: KafkaBroker, tmp_path: Path):
    kafka.suspend()
    try:
        finished = one_shot(tmp_path, ("consume", "--once"), kafka.bootstrap, GAVE_UP)
    finally:
        kafka.resume()
    assert finished.seconds < _TIMEOUT_S + _MORE_S_MAX


def one_shot(folder: Path, command: tuple[str, ...], bootstrap: str, code: int, topic: str = "cdc.nowhere"):
    source = folder / "bank.db"
    make_bank(source, 40, random.Random(1))
    where = ("--source", source, "--cache", folder / "cache.redb")
    where = where if command[0] == "poll" else where[2:]
    return cdc(
        *command,
        *where,
        "--bootstrap-servers",
        bootstrap,
        "--topic",
        topic,
        "--timeout",
        f"{_TIMEOUT_S}",
        code=code,
    )


def test_status_answers_without_a_broker(tmp_path: Path):
    source, cache = tmp_path / "bank.db", tmp_path / "cache.redb"
    make_bank(source, 40, random.Random(1))
    cdc("sync", "--source", source, "--cache", cache)
    where = ("--source", source, "--cache", cache, "--topic", "cdc.nowhere", "--timeout", "2s")
    status = cdc("status", "--json", *where, "--bootstrap-servers", f"127.0.0.1:{free_port()}").json
    assert status["kafka"]["end_offset"] is None
    assert status["source"]["reachable"]


def test_consuming_once_where_nothing_was_published_is_for_an_operator(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    finished = one_shot(tmp_path, ("consume", "--once"), kafka.bootstrap, OPERATOR, topic)
    assert "snapshot" in finished.error
    assert not (tmp_path / "cache.redb").exists()

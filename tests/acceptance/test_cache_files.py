"""Cache files that another node owns, or that something has damaged: one line, the right code, or healed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import make_bank
from tests.support.commands import DIFFERENT, DONE, FAILED, USAGE, cdc
from tests.support.deployment import EMBEDDED, Deployment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_GARBAGE = random.Random(7).randbytes(100_000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    make_bank(path, 1_000, random.Random(1))
    return path


@pytest.fixture
def cache(source: Path, tmp_path: Path) -> Path:
    path = tmp_path / f"{EMBEDDED}.redb"
    cdc("sync", "--source", source, "--cache", path)
    return path


def with_middle_overwritten(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + _GARBAGE[:20_000] + data[middle + 20_000 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "only its header": lambda data: data[:4096],
    "half": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "garbage": lambda _: _GARBAGE,
    "garbage in its header": lambda data: _GARBAGE[:512] + data[512:],
    "garbage in its middle": with_middle_overwritten,
    "zeros": lambda data: bytes(len(data)),
}


def damages(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "damage", [DAMAGES[name] for name in names], ids=[name.replace(" ", "-") for name in names]
    )


@damages(*DAMAGES)
def test_a_damaged_cache_never_ends_with_a_traceback_and_sync_heals_or_refuses_it(
    damage: Callable[[bytes], bytes], source: Path, cache: Path, tmp_path: Path
):
    cache.write_bytes(damage(cache.read_bytes()))
    # A part of the file may be whole: then what is read is right, or said to be damaged.
    cdc("dump", "--cache", cache, code=(DONE, FAILED, USAGE))
    cdc("verify", "--source", source, "--cache", cache, code=(DONE, FAILED, USAGE, DIFFERENT))
    synced = cdc("sync", "--source", source, "--cache", cache, code=(DONE, USAGE))
    if synced.code == USAGE:
        # What may be somebody's file of another kind is not replaced unasked.
        assert "is no" in synced.error
        return
    with Deployment(tmp_path, source, "", "") as deployment:
        deployment.assert_equal((EMBEDDED,))


@damages("half", "garbage in its middle")
def test_a_node_fed_by_kafka_comes_back_from_a_damaged_cache(
    damage: Callable[[bytes], bytes], kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path
):
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        cdc(*deployment.arguments("poller"), "--once")
        cdc(*deployment.arguments("node-a"), "--once")
        cache = deployment.cache("node-a")
        cache.write_bytes(damage(cache.read_bytes()))
        cdc(*deployment.arguments("node-a"), "--once")
        deployment.assert_equal(("node-a",))


# `rebuild` is no second node: it asks the one that runs.
@pytest.mark.parametrize("second", [("sync",), ("run",)], ids=lambda command: command[0])
def test_a_second_node_on_one_cache_file_is_refused(second: tuple[str, ...], source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, "", "") as deployment:
        deployment.start(EMBEDDED)
        deployment.wait_for_load((EMBEDDED,))
        where = ("--source", source, "--cache", deployment.cache(EMBEDDED), "--timeout", "1s")
        error = cdc(*second, *where, code=FAILED).error
        assert "another process" in error
        assert str(deployment.cache(EMBEDDED)) in error
        deployment.stop()


def test_a_consumer_is_refused_where_an_embedded_node_writes(
    kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path
):
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        deployment.start(EMBEDDED)
        deployment.wait_for_load((EMBEDDED,))
        where = (
            "--cache",
            deployment.cache(EMBEDDED),
            "--timeout",
            "1s",
            "--bootstrap-servers",
            kafka.bootstrap,
        )
        error = cdc("consume", *where, "--topic", topic, code=FAILED).error
        assert "another process" in error
        deployment.stop()


def test_a_node_that_starts_while_the_last_one_ends_waits_for_it(source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, "", "") as deployment:
        deployment.start(EMBEDDED)
        deployment.wait_for_load((EMBEDDED,))
        first = deployment.parts[EMBEDDED]
        deployment.start(EMBEDDED)
        first.kill()
        with closing(sqlite3.connect(source)) as connection, connection:
            connection.execute("DELETE FROM documents")
        deployment.wait_until_level((EMBEDDED,))
        deployment.stop()
        deployment.assert_equal((EMBEDDED,))

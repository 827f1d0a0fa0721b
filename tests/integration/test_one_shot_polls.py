"""One-shot commands that publish, beside a source in rollback-journal mode that is written to meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from cdc.capture import limits
from cdc.capture.moments import Moments
from cdc.capture.piecewise import PiecewiseReader
from cdc.cli.parts import pipeline
from cdc.config import CacheConfig, Config, KafkaConfig, SourceConfig
from cdc.kafka import polling
from cdc.kafka.polling import poll_once, snapshot_once
from consumers.following import follow_once
from consumers.writer import CacheWriter
from schemas.errors import KafkaUnavailableError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from cdc.capture.encode import Page
    from cdc.kafka.polling import Pipeline
    from tests.support.kafka import KafkaBroker

_LIMIT_S = 30.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    db.executemany("INSERT INTO t VALUES (?, 0)", [(number,) for number in range(10)])
    yield db
    db.close()


@pytest.fixture
def work(db: sqlite3.Connection, tmp_path: Path, kafka: KafkaBroker, topic: str) -> Pipeline:
    del db
    return pipeline(
        Config(
            cache=CacheConfig(path=tmp_path / "cache.redb", node="node"),
            source=SourceConfig(url=str(tmp_path / "app.db")),
            kafka=KafkaConfig(bootstrap_servers=kafka.bootstrap, topic=topic),
        )
    )


async def test_a_snapshot_that_ends_ahead_of_a_chain_which_another_poller_leads_on_is_read_once(
    work: Pipeline, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    await poll_once(work, asyncio.Event(), _LIMIT_S)
    whole = PiecewiseReader.catch_up
    read = 0

    async def catch_up(reader: PiecewiseReader) -> AsyncGenerator[Page, None]:
        nonlocal read
        read += 1
        db.execute("UPDATE t SET v = v + 1")
        async with aclosing(whole(reader)) as pages:
            async for page in pages:
                yield page
        # Between the snapshot's last row and the group that is to lead there.
        await poll_once(work, asyncio.Event(), _LIMIT_S)

    monkeypatch.setattr(PiecewiseReader, "catch_up", catch_up)
    head, written = await snapshot_once(work, asyncio.Event(), _LIMIT_S)
    assert read == 1
    assert written.rows == 20
    assert head.change_id == head.exact_at == db.execute("SELECT max(change_id) FROM _cdc_log").fetchone()[0]


async def test_a_cache_can_start_from_a_snapshot_that_another_poller_strode_over(
    work: Pipeline, db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await poll_once(work, asyncio.Event(), _LIMIT_S)
    whole = PiecewiseReader.catch_up
    strides, reads = 1, 0
    rows = PiecewiseReader.rows

    def counted(reader: PiecewiseReader, table: str) -> AsyncGenerator[Page, None]:
        nonlocal reads
        reads += 1
        return rows(reader, table)

    async def catch_up(reader: PiecewiseReader) -> AsyncGenerator[Page, None]:
        nonlocal strides
        db.execute("UPDATE t SET v = v + 1")
        async with aclosing(whole(reader)) as pages:
            async for page in pages:
                yield page
        if strides:
            # From before the snapshot's end to behind it, in one group.
            strides -= 1
            db.execute("UPDATE t SET v = v + 1")
            await poll_once(work, asyncio.Event(), _LIMIT_S)

    monkeypatch.setattr(PiecewiseReader, "catch_up", catch_up)
    monkeypatch.setattr(PiecewiseReader, "rows", counted)
    await snapshot_once(work, asyncio.Event(), _LIMIT_S)
    # The table was read once; what changed since, once more.
    assert reads == 1
    clients, topics = work.clients, work.topics
    consuming = follow_once(
        lambda: CacheWriter(tmp_path / "cache.redb", "node"),
        clients.consumer,
        topics,
        asyncio.Event(),
        _LIMIT_S,
    )
    _, checkpoint = await asyncio.wait_for(consuming, _LIMIT_S)
    assert checkpoint is not None
    assert checkpoint.change_id == db.execute("SELECT max(change_id) FROM _cdc_log").fetchone()[0]


async def test_poll_once_ends_exact_and_says_where_and_how_much(
    work: Pipeline, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    await poll_once(work, asyncio.Event(), _LIMIT_S)
    monkeypatch.setattr(limits, "PIECE_ROWS_FIRST", 2)
    monkeypatch.setattr(limits, "PIECE_ROWS_MAX", 2)
    db.execute("UPDATE t SET v = 1")
    rest = Moments.rest
    writes = 3

    async def write_between(moments: Moments) -> None:
        nonlocal writes
        await rest(moments)
        if writes:
            writes -= 1
            db.execute("UPDATE t SET v = v + 1")

    monkeypatch.setattr(Moments, "rest", write_between)
    polled = await poll_once(work, asyncio.Event(), _LIMIT_S)
    assert polled.exact
    assert polled.head.change_id == db.execute("SELECT max(change_id) FROM _cdc_log").fetchone()[0]
    assert polled.events >= 20


async def test_a_snapshot_that_is_due_and_cannot_be_read_now_is_left_to_the_next_poll(
    work: Pipeline, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    await poll_once(work, asyncio.Event(), _LIMIT_S)
    db.execute("UPDATE t SET v = 1")

    async def never(_reader: PiecewiseReader) -> AsyncGenerator[Page, None]:
        raise SourceUnavailableError("the source changes faster than it can be read", "it is tried again")
        yield

    monkeypatch.setattr(PiecewiseReader, "catch_up", never)
    monkeypatch.setattr(polling.KafkaPublication, "wants_snapshot", property(lambda _: True))
    polled = await asyncio.wait_for(poll_once(work, asyncio.Event(), _LIMIT_S), _LIMIT_S / 2)
    assert (polled.exact, polled.events) == (True, 10)


async def test_a_snapshot_that_was_acknowledged_is_not_made_again_when_kafka_fails_right_after(
    work: Pipeline, monkeypatch: pytest.MonkeyPatch
):
    await poll_once(work, asyncio.Event(), _LIMIT_S)
    look = polling.KafkaPublication.look_at_topic
    lives: list[int] = []

    async def failing_once(publication: polling.KafkaPublication) -> None:
        lives.append(publication.writer)
        if len(lives) == 1:
            raise KafkaUnavailableError("no answer")
        await look(publication)

    monkeypatch.setattr(polling.KafkaPublication, "look_at_topic", failing_once)
    _, written = await snapshot_once(work, asyncio.Event(), _LIMIT_S)
    assert len(lives) == 1, "another snapshot was made"
    assert written.rows == 10

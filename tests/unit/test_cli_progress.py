"""How far a load is: what is said of it, on a terminal and in the log."""

from __future__ import annotations

import asyncio
import os
import pty
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import structlog

from cdc import limits
from cdc.cli.common import Common
from cdc.cli.progress import described, showing_progress
from schemas.progress import Work, under_way
from tests.support.command import command_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def work(done: int, expected: int | None) -> Work:
    return Work("loading", lambda: done, expected, began_s=100.0)


def test_time_left_follows_from_rate_and_rows_expected():
    said = described(work(500_000, 2_000_000), 110.0)
    assert said == "500,000 of 2,000,000 rows, 50,000 rows/s, 30 s left"
    assert described(work(1, 10_000), 101.0).endswith("2 h 46 min left")


def test_where_nobody_knows_how_many_rows_there_are_the_time_so_far_is_said():
    assert described(work(500_000, None), 190.0) == "500,000 rows, 5,556 rows/s, for 1 min 30 s"
    assert described(work(20, 10), 110.0) == "20 rows, 2 rows/s, for 10 s"
    assert described(work(0, 10), 100.0) == "0 of 10 rows, 0 rows/s"


def test_without_a_terminal_the_log_says_how_far_it_is_and_stops_at_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "PROGRESS_LOG_SECONDS", 0.01)

    async def load() -> int:
        with under_way("loading", lambda: 7, 9):
            await until(lambda: len(logged) > 1, limit_s=10.0)
        return len(logged)

    with structlog.testing.capture_logs() as logged:
        told = asyncio.run(showing_progress(Common(log_format="json"), load()))
    assert len(logged) == told
    assert {(line["event"], line["rows"], line["of"]) for line in logged} == {("loading", 7, 9)}


async def until(condition: Callable[[], bool], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 -- nothing would set an event
            await asyncio.sleep(0)


def test_a_terminal_shows_a_bar_and_standard_output_only_the_result(tmp_path: Path):
    source = tmp_path / "app.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command_line("sync", "--source", str(source), "--cache", "c.redb", "--json"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
        )
        os.close(theirs)
        shown = _everything(ours)
    finally:
        os.close(ours)
    assert b"loading the cache" in shown
    assert b"rows/s" in shown
    assert done.stdout.startswith(b"{")


def _everything(terminal: int) -> bytes:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end is closed, and everything was read
            return b"".join(parts)
        if not part:
            return b"".join(parts)
        parts.append(part)

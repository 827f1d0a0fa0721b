"""How long the application's commits wait because of us.

In rollback-journal mode a commit waits until nobody reads; in either mode it waits for whoever writes.
"""

from __future__ import annotations

import time
from contextlib import closing
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Self

import msgspec

from cdc.bench import workload
from cdc.bench.figure import ceiling
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from cdc.bench.bench import Bench
    from cdc.bench.command import Commands
    from cdc.bench.figure import Figure

SUMMARY = "how long the application's commits wait because of us"

AIM_MS = 50.0

_PAUSE_SECONDS = 0.003
"""The application's, between two commits."""

_BACKLOG = 0.4
"""Changes of the backlog, in rows of the table."""

_ANSWER_SECONDS_MAX = 60.0


class _Commits(msgspec.Struct, frozen=True):
    """How long commits took, in ms."""

    longest: float
    p99: float
    count: int


class _Application:
    """An application that commits every few ms, in a process of its own. Use as ``with``.

    It does not wait for the disk (synchronous OFF): what is left is its own work and waiting for locks.

    Args:
        database: the file.
        journal: its mode.
        rows: how many it has.
    """

    def __init__(self, database: Path, journal: workload.Journal, rows: int) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_commit, args=(theirs, database, journal, rows), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def during(self, work: Callable[[], object]) -> _Commits:
        """Has it commit as long as the work lasts."""
        self._ours.send(True)
        work()
        self._ours.send(False)
        if not self._ours.poll(_ANSWER_SECONDS_MAX):
            raise CdcError("the benchmark's application hangs", "see that the machine is not overloaded")
        milliseconds: list[float] = sorted(self._ours.recv())
        p99 = milliseconds[min(len(milliseconds) - 1, len(milliseconds) * 99 // 100)]
        return _Commits(milliseconds[-1], p99, len(milliseconds))


def measure(bench: Bench) -> Iterator[Figure]:
    """Measures each phase of a cache's life, with an application beside it, and before it without us."""
    found: dict[str, list[tuple[_Commits, _Commits]]] = {}
    for number in range(bench.scale.repeat):
        for name, alone, beside in (*_rollback(bench, number), *_wal(bench, number)):
            found.setdefault(name, []).append((alone, beside))
    for name, runs in found.items():
        for what in ("longest", "p99"):
            alone = [getattr(one, what) for one, _ in runs]
            yield bench.figure(
                f"{name}.{what}",
                "ms",
                [getattr(one, what) for _, one in runs],
                better="lower",
                aim=AIM_MS if what == "longest" else None,
                ceilings=(ceiling("without us", alone, "ms"),),
                note=f"{runs[0][1].count:,} commits of one row each",
            )


def _rollback(bench: Bench, number: int) -> Iterator[tuple[str, _Commits, _Commits]]:
    rows, seconds = bench.scale.rows, bench.scale.seconds
    backlog = max(1, int(rows * _BACKLOG))
    database = bench.folder / f"rollback{number}.db"
    workload.create(database, rows, journal="rollback")
    commands = bench.commands(database, f"rollback{number}.redb")
    commands.run("install")
    sync = ("sync",)
    with _Application(database, "rollback", rows) as application:
        yield "load", *_beside(application, commands, sync, seconds)
        _change(database, "rollback", rows, backlog)
        yield "backlog", *_beside(application, commands, sync, seconds)
        commands.run("reread", workload.TABLE)
        yield "reread", *_beside(application, commands, sync, seconds)
        # What was read in many moments is exact a poll later.
        commands.run(*sync)
        yield "verify", *_beside(application, commands, ("verify",), seconds)
        commands.run(*sync)
        yield "prune", *_beside(application, commands, ("prune", "--keep=0s"), seconds)


def _wal(bench: Bench, number: int) -> Iterator[tuple[str, _Commits, _Commits]]:
    rows, seconds = max(1, int(bench.scale.rows * _BACKLOG)), bench.scale.seconds
    database = bench.folder / f"wal{number}.db"
    workload.create(database, rows)
    commands = bench.commands(database, f"wal{number}.redb")
    commands.run("install")
    _change(database, "wal", rows, rows)
    with _Application(database, "wal", rows) as application:
        yield "prune.wal", *_beside(application, commands, ("prune", "--keep=0s"), seconds)


def _beside(
    application: _Application, commands: Commands, command: tuple[str, ...], seconds: float
) -> tuple[_Commits, _Commits]:
    """Has it commit for so long without us, then beside the command."""
    alone = application.during(lambda: time.sleep(seconds))
    return alone, application.during(lambda: commands.run(*command))


def _change(database: Path, journal: workload.Journal, rows: int, changes: int) -> None:
    """Updates so many rows in large transactions."""
    source = workload.Rows(seed=5)
    with closing(workload.connect(database, journal)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            workload.UPDATE, (source.update(number % rows + 1) for number in range(changes))
        )
        connection.execute("COMMIT")


def _commit(ours: Connection[Any, Any], database: Path, journal: workload.Journal, rows: int) -> None:
    """Is the application: commits between a True and a False, then says how long each took."""
    source = workload.Rows(seed=2)
    with closing(workload.connect(database, journal)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        while ours.recv():
            milliseconds: list[float] = []
            while not milliseconds or not ours.poll(_PAUSE_SECONDS):
                began = time.perf_counter()
                connection.execute(workload.UPDATE, source.update(source.pick(rows)))
                milliseconds.append((time.perf_counter() - began) * 1000)
            ours.recv()
            ours.send(milliseconds)

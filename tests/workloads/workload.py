"""One workload: an application, and a cache that is compared with its database after every poll."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cdc.capture import Capture
from cdc.embedded import CachePublication
from cdc.hash_key import HashKey
from cdc.poller import Poller
from consumers.meta import QUARANTINE_TABLE
from consumers.writer import CacheWriter
from schemas import decode_key, decode_row, encode_key
from schemas.keys import split_record_key
from tests.support.replica import typed
from tests.workloads.application import Application
from tests.workloads.inline import run_inline
from tests.workloads.settings import HASH_SECRET, Published, expected, random_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.workloads.settings import Expected

POLLS = 4
_MEMORY = Path("/dev/shm")
_SCAN_ROWS = 100_000


class DifferentError(AssertionError):
    """The cache does not hold what the database says."""


def run_workload(seed: int, say: Callable[[str], None] | None = None) -> None:
    """Run one workload to its end.

    Raises:
        DifferentError: the cache is not equal to the database.
    """
    where = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="workload", dir=where) as folder:
        run_inline(_Workload(Random(seed), Path(folder), say).run())


class _Workload:
    def __init__(self, rnd: Random, folder: Path, say: Callable[[str], None] | None) -> None:
        self._rnd = rnd
        self._path = folder / "app.db"
        self._cache = folder / "cache.redb"
        self._say = say
        self._application = Application(rnd, self._path, say)
        self._published = Published(None, {})
        self._configurable = rnd.random() < 0.5

    async def run(self) -> None:
        try:
            polls = POLLS
            while polls > 0:
                self._configure()
                polls -= await self._live(polls)
        finally:
            self._application.close()

    async def _live(self, polls_max: int) -> int:
        """Run a poller for some polls, until it is stopped or has to be configured anew."""
        published, rnd = self._published, self._rnd
        capture = Capture(
            str(self._path),
            tables=published.tables,
            settings=published.settings,
            hash_key=HashKey(HASH_SECRET),
        )
        async with CacheWriter(self._cache, "node", shared=False) as writer, capture:
            if not await capture.installed():
                if rnd.random() < 0.5:
                    self._application.write()
                await capture.install()
            poller = Poller(capture, CachePublication(writer, capture.client.url))
            for polls in range(1, polls_max + 1):
                self._application.write()
                await poller.poll()
                self._tell(f"polled: {writer.groups.head}")
                self._compare(writer)
                if rnd.random() < 0.3:
                    self._application.change_schema()
                    if published != Published(None, {}):
                        # Settings name columns and tables, which may be gone.
                        return polls
                if rnd.random() < 0.1:
                    return polls
        return polls_max

    def _configure(self) -> None:
        if self._configurable:
            self._published = random_settings(self._rnd, self._application.tables)
            self._tell(f"configured: {self._published}")

    def _compare(self, writer: CacheWriter) -> None:
        wanted = expected(self._path, self._application.tables, self._published)
        database = writer.applier._store.database
        with database.snapshot() as snapshot:
            if snapshot.tables() != sorted(wanted):
                raise DifferentError(f"tables are {snapshot.tables()}, at the source {sorted(wanted)}")
            marks: dict[str, set[bytes]] = {}
            for name, _, _ in snapshot.scan(QUARANTINE_TABLE, limit=_SCAN_ROWS):
                table, key = split_record_key(name)
                marks.setdefault(table, set()).add(key)
            for table, one in wanted.items():
                rows = {key: decode_row(row) for key, row, _ in snapshot.scan(table, limit=_SCAN_ROWS)}
                _compare_table(table, rows, marks.get(table, set()), one)

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(f"-- {line}")


def _compare_table(
    table: str, rows: dict[bytes, dict[str, object]], marks: set[bytes], one: Expected
) -> None:
    if rows.keys() != one.rows.keys():
        missing = [decode_key(key) for key in one.rows.keys() - rows.keys()]
        unexpected = [decode_key(key) for key in rows.keys() - one.rows.keys()]
        raise DifferentError(f"{table}: missing {missing[:3]}, unexpected {unexpected[:3]}")
    if without_signs_of_zero(marks) != without_signs_of_zero(one.nulls):
        raise DifferentError(f"{table}: quarantined {marks}, at the source {one.nulls}")
    for key, row in one.rows.items():
        # The order of columns is part of a row, too.
        if list(rows[key]) != list(row) or typed(rows[key]) != typed(row):
            raise DifferentError(f"{table} {decode_key(key)}: {rows[key]}, at the source {row}")


def without_signs_of_zero(keys: set[bytes]) -> set[bytes]:
    """Take 0.0 and -0.0 for one, as SQL does: keys that hold NULL are found by nothing finer."""
    return {
        encode_key([value or 0.0 if type(value) is float else value for value in decode_key(key)])
        for key in keys
    }

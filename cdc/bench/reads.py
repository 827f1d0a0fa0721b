"""Reading the cache beside its node: single rows, many at once, a whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.bench import workload
from cdc.bench.bench import seconds_of
from cdc.bench.figure import ceiling
from consumers import _redb
from consumers.cache import Cache
from schemas.keys import encode_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure

SUMMARY = "get, get_many and scan through Cache"

_GETS = 5_000
_MANY = 100
_MANY_CALLS = 100
_SCAN_PAGE_ROWS = 1000


def measure(bench: Bench) -> Iterator[Figure]:
    """Measures reads through `Cache`, and by turns the binding's alone, which decode nothing."""
    rows, database, file = bench.scale.rows, bench.folder / "app.db", bench.folder / "cache.redb"
    workload.create(database, rows)
    commands = bench.commands(database, file.name)
    commands.run("sync")
    names = ("get", "get_many", "scan")
    runs: dict[str, list[float]] = {name: [] for name in names}
    raw: dict[str, list[float]] = {name: [] for name in names}
    source = workload.Rows(seed=5)
    keys = [(source.pick(rows),) for _ in range(_GETS)]
    hundreds = [[(source.pick(rows),) for _ in range(_MANY)] for _ in range(_MANY_CALLS)]
    with commands.running("run"), Cache.open(file) as cache, _redb.Database.open_read_only(file) as binding:
        encoded = [encode_key(key) for key in keys]
        encoded_hundreds = [[encode_key(key) for key in hundred] for hundred in hundreds]
        # Both have read every page before the clock starts.
        _scan(binding)
        sum(1 for _ in cache.scan(workload.TABLE))
        for _ in range(bench.scale.repeat):
            seconds = seconds_of(lambda: [cache.get(workload.TABLE, *key) for key in keys])
            runs["get"].append(seconds / len(keys) * 1e6)
            seconds = seconds_of(lambda: [binding.get(workload.TABLE, key) for key in encoded])
            raw["get"].append(seconds / len(keys) * 1e6)
            seconds = seconds_of(lambda: [cache.get_many(workload.TABLE, hundred) for hundred in hundreds])
            runs["get_many"].append(seconds / len(hundreds) * 1e6)
            seconds = seconds_of(
                lambda: [binding.get_many(workload.TABLE, some) for some in encoded_hundreds]
            )
            raw["get_many"].append(seconds / len(hundreds) * 1e6)
            runs["scan"].append(rows / seconds_of(lambda: sum(1 for _ in cache.scan(workload.TABLE))))
            raw["scan"].append(rows / seconds_of(lambda: _scan(binding)))
    note = f"{rows:,} rows of {workload.COLUMNS} columns, random keys, decoded, beside a running node"
    for name, what in (("get", "a get"), ("get_many", f"a get_many of {_MANY}")):
        bare = ceiling(f"consumers._redb: {what}, encoded bytes", raw[name], "us")
        yield bench.figure(name, "us", runs[name], better="lower", ceilings=(bare,), note=note)
    bare = ceiling("consumers._redb: scan, encoded bytes", raw["scan"], "rows/s")
    yield bench.figure("scan", "rows/s", runs["scan"], ceilings=(bare,), note=note)


def _scan(binding: _redb.Database) -> None:
    with binding.snapshot() as snapshot:
        after: bytes | None = None
        while page := snapshot.scan(workload.TABLE, after=after, limit=_SCAN_PAGE_ROWS):
            after = page[-1][0]

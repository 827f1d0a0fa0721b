"""What ``cdc demo`` does, step by step, through the installed command and the public reader."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.text import Text

import cdc
from cdc.demo.application import SampleApplication
from consumers.cache import Cache
from schemas.errors import CdcError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

WORK_SECONDS = 4.0
"""How long the application works in each of its two spells."""

CATCH_UP_SECONDS_MAX = 20.0
LATENCY_SAMPLES_MAX = 400


def tell(folder: Path, console: Console, preset: str | None = None) -> None:
    """Runs the demo in an empty folder; with a preset, only what that keeps is cached.

    Raises:
        CdcError: something did not go as the demo says.
    """
    _Story(folder, console, preset).tell()


class _Story:
    def __init__(self, folder: Path, console: Console, preset: str | None) -> None:
        self._console = console
        self._database, self._cache = folder / "app.db", folder / "cache.redb"
        self._flags = ["--source", f"file:{self._database}", "--cache", str(self._cache), "--node", "demo"]
        # A file of its own even where it says nothing: ./cdc.toml and CDC_ variables say nothing of the demo.
        config = folder / "cdc.toml"
        config.write_text("" if preset is None else f"[preset.{preset}]\n", encoding="utf-8")
        self._flags += ["--config", str(config)]
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
        self._application = SampleApplication(self._database)

    def tell(self) -> None:
        self._title("An application has a SQLite database")
        rows = self._application.create()
        self._say(f"{self._database.name}: 3 tables, {rows:,} rows, in WAL mode; nothing of ours in it yet")

        self._title("cdc sync: the first load")
        report = self._cdc_json("sync")
        self._say(
            f"triggers and a change log installed, {report['rows']:,} rows loaded into {self._cache.name} "
            f"in {report['seconds']:.2f} s, at position {_position(report)}"
        )

        self._title("cdc run: the cache follows while the application works")
        node = self._start_node()
        transactions, touched, latencies = self._work(measured=True)
        self._say(
            f"{transactions:,} transactions committed, {touched:,} rows touched, meanwhile applied to redb"
        )
        self._say(
            f"from commit to readable elsewhere: median {statistics.median(latencies) * 1e3:.1f} ms, "
            f"99 % within {_percentile(latencies, 99) * 1e3:.1f} ms"
        )

        self._title("kill -9 in the middle of it")
        self._work(measured=False, then=node.kill)
        node.wait()
        behind, touched, _ = self._work(measured=False, seconds=1.0)
        self._say(f"the node is dead; the application committed {behind:,} more transactions without it")
        began = time.monotonic()
        node = self._start_node()
        self._wait()
        self._say(
            f"started again: it went on where it was and had caught up after {time.monotonic() - began:.2f} s"
        )
        node.send_signal(signal.SIGTERM)
        if node.wait(timeout=10) != 0:
            raise CdcError("the node did not end in good order", "run it by hand: cdc run")

        self._title("Reading it back")
        self._read()

        self._title("cdc verify: row by row, value by value")
        verified = self._cdc_json("verify")
        for name, table in verified["tables"].items():
            self._say(
                f"{name}: {table['source_rows']:,} rows to be cached, {table['cache_rows']:,} in the cache"
            )
        if not verified["equal"]:
            raise CdcError("the cache differs from the database", f"see: cdc verify {' '.join(self._flags)}")
        self._console.print(
            f"\n  [bold green]The cache is equal to the database[/] at {_position(verified)}.\n"
        )
        self._application.close()

    def _start_node(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cdc", "run", *self._flags, "--log-level", "warning"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=self._environment)  # noqa: S603 -- our own command

    def _work(
        self, *, measured: bool, seconds: float = WORK_SECONDS, then: Any = None
    ) -> tuple[int, int, list[float]]:
        """The application works for a while; a sample of its commits is timed until they can be read."""
        application = self._application
        transactions = touched = 0
        latencies: list[float] = []
        if measured:
            self._wait()
        end = time.monotonic() + seconds
        with Cache.open(self._cache) as cache:
            while time.monotonic() < end:
                touched += application.work()
                transactions += 1
                if measured and transactions % 5 == 0 and len(latencies) < LATENCY_SAMPLES_MAX:
                    committed = time.perf_counter()
                    cache.wait_for(cdc.position(application.connection), timeout=CATCH_UP_SECONDS_MAX)
                    latencies.append(time.perf_counter() - committed)
        if then is not None:
            then()
        return transactions, touched, latencies

    def _wait(self) -> None:
        with Cache.open(self._cache) as cache:
            cache.wait_for(cdc.position(self._application.connection), timeout=CATCH_UP_SECONDS_MAX)

    def _read(self) -> None:
        with Cache.open(self._cache) as cache:
            keys = [key for key, _ in zip(cache.scan("patterns"), range(200), strict=False)]
            began = time.perf_counter()
            for key, _ in keys:
                cache.get("patterns", *key)
            micros = (time.perf_counter() - began) / len(keys) * 1e6
            (pattern,), row = keys[0]
        self._say(f'cache.get("patterns", {pattern!r}) -> {row}')
        self._say(f"a get takes {micros:.0f} microseconds, decoded, from another process than the writer's")

    def _cdc_json(self, command: str) -> Any:
        arguments = [sys.executable, "-m", "cdc", command, *self._flags, "--json", "--log-level", "error"]
        done = subprocess.run(  # noqa: S603 -- our own command
            arguments, capture_output=True, text=True, timeout=60, check=False, env=self._environment
        )
        if done.returncode not in (0, 3):
            raise CdcError(f"cdc {command} failed: {done.stderr.strip()}", "")
        return json.loads(done.stdout)

    def _title(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", style="bold"))

    def _say(self, text: str) -> None:
        self._console.print(Text(f"  {text}"), soft_wrap=True)


def _position(document: dict[str, Any]) -> str:
    return f"{document['position']['epoch']}:{document['position']['change_id']}"


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

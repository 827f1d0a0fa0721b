"""Reads one cache all the time, as an application would, in a process of its own: no read may fail.

``python -m tests.support.reader CACHE`` reads a cache of the bank until SIGTERM, then prints how often.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from consumers import Cache, Position

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNTS = 200
_OPENED_EVERY = 50
_SCANNED_EVERY = 10
_PAUSE_S = 0.001
"""Between two reads: the machine is needed for what is tested."""
_LIMIT_S = 30.0


class Reader:
    """A process that reads; use as ``with``, and ask `stop` for its findings."""

    def __init__(self, cache: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.reader", str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def check_alive(self) -> None:
        """Fail when a read has failed."""
        if self._process.poll() is not None:
            raise AssertionError(f"a read failed:\n{self._process.communicate()[1]}")

    def stop(self) -> int:
        """End it; returns how many reads there were, none of which failed."""
        self.check_alive()
        self._process.terminate()
        out, err = self._process.communicate(timeout=_LIMIT_S)
        assert self._process.returncode == 0, err
        return json.loads(out)["reads"]


def read_on(path: str) -> int:
    """Reads until SIGTERM: every account is there at every moment, and the position never goes back."""
    told = False

    def tell(*_: object) -> None:
        nonlocal told
        told = True

    signal.signal(signal.SIGTERM, tell)
    reads, last = 0, Position(0, 0)
    while not told:
        with Cache.open(path) as cache:
            for _ in range(_OPENED_EVERY):
                assert cache.get("accounts", reads % ACCOUNTS) is not None, "an account is missing"
                position = cache.position
                assert position is not None, "no position"
                assert position >= last, f"went back from {last} to {position}"
                last = position
                reads += 1
                if not reads % _SCANNED_EVERY:
                    assert sum(1 for _ in cache.scan("accounts")) == ACCOUNTS, "accounts are missing"
                time.sleep(_PAUSE_S)
    return reads


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"reads": read_on(sys.argv[1])}))

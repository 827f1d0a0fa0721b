"""A real `tursodb --sync-server` for tests: the Turso engine's server, whose clients share one connection."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Self

from tests.support.node_parts import module_file
from tests.support.parts import missing
from tests.support.ports import free_port
from tests.support.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

_READY_S_MAX = 30
_PAUSE_S = 0.02
_REQUEST_S_MAX = 60


def tursodb_program() -> Path:
    """Path of the command; a missing part where it cannot be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        missing("tursodb", "the npm package is for Linux on x86-64")
    program = module_file("@tursodatabase", "cli-linux-x64-gnu", "tursodb")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


class TursoServer:
    """One server on 127.0.0.1 of one database file, with its log beside it.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._program = tursodb_program()
        self._path = path
        self._process: ServerProcess | None = None
        self.port = free_port()
        self.log = path.with_suffix(".log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Its URL, the same over all restarts."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        address = f"127.0.0.1:{self.port}"
        command = [str(self._program), str(self._path), "--sync-server", address, "--quiet"]
        self._process = ServerProcess(command, self.log)
        limit = time.monotonic() + _READY_S_MAX
        while not self._answers():
            if not self._process.running or time.monotonic() > limit:
                self.kill()
                raise RuntimeError(f"tursodb did not start: {self.log.read_text()[-2000:]}")
            time.sleep(_PAUSE_S)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        process, self._process = self._process, None
        if process is not None:
            process.end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again with the same file and port."""
        self.kill()
        self.start()

    def ask(self, *statements: str) -> list[dict[str, Any]]:
        """Run statements in one request, as any client can; give what came of each."""
        requests = [{"type": "execute", "stmt": {"sql": sql}} for sql in statements]
        data = json.dumps({"baton": None, "requests": requests}).encode()
        request = urllib.request.Request(f"{self.url}/v2/pipeline", data)
        with urllib.request.urlopen(request, timeout=_REQUEST_S_MAX) as answer:
            return json.loads(answer.read())["results"]

    def write(self, *statements: str) -> None:
        """Run statements in one request; each must succeed."""
        for statement, result in zip(statements, self.ask(*statements), strict=True):
            assert result["type"] == "ok", f"{statement}: {result['error']['message']}"

    def rows(self, sql: str) -> list[list[str | None]]:
        """Give the rows of a query, integers as text."""
        (result,) = self.ask(sql)
        assert result["type"] == "ok", result["error"]["message"]
        return [[value.get("value") for value in row] for row in result["response"]["result"]["rows"]]

    def _answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except OSError:
            return False

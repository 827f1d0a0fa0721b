"""A real server's process: it ends with the test run, whatever ends that."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.suspending import suspend

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from pathlib import Path

_STOP_S_MAX = 20


class ServerProcess:
    """A server that was just started; what it prints goes to the end of `log`."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # an interrupt at the terminal is for the tests, not for the server
            )
        # Ends the server when the test run is killed: its end of the pipe closes with the process.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Whether it lives; a suspended one does."""
        return self._process.poll() is None

    def send(self, sign: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        self._process.send_signal(sign)

    def suspend(self) -> None:
        """SIGSTOP, if it lives: connections stay open and nothing answers."""
        if self.running:
            suspend(self._process.pid)

    def end(self, sign: signal.Signals) -> None:
        """Send it a signal and wait for its end; SIGKILL when that takes too long."""
        self.send(sign)
        try:
            self._process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S_MAX)
        self._guard.kill()
        self._guard.wait(_STOP_S_MAX)
        if self._guard.stdin is not None:
            self._guard.stdin.close()

"""Runs the `cdc` command as a user would, and holds every run to the contract of errors and exit codes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.conditions import wait_until
from tests.support.suspending import suspend

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT = Path(__file__).parents[2]

DONE, FAILED, USAGE, DIFFERENT, OPERATOR, GAVE_UP, NO_ROW = range(7)
WITHOUT_ERROR_LINE = {DONE, DIFFERENT, NO_ROW}

COMMAND_S_MAX = 120.0
STOP_S_MAX = 5.0
"""How soon SIGINT and SIGTERM must have ended a command (CONTRACT)."""
_STOP_MEASURING_S = 0.5
"""What a busy machine may add to it before this is called a failure."""

_run_numbers = itertools.count(1)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def json(self) -> Any:
        """Standard output, which is exactly one JSON document."""
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> str:
        """The error line, without its ``error: ``."""
        return self.stderr.splitlines()[-1].removeprefix("error: ")


def cdc(*arguments: str | Path, code: int | tuple[int, ...] = DONE, cwd: Path | None = None) -> Finished:
    """Run a command to its end; its exit code must be ``code``, or one of them.

    A failure has one error line and prints no result; standard error holds log records and that line only.
    """
    began = time.monotonic()
    done = subprocess.run(
        _command(arguments),
        cwd=cwd or PROJECT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    finished = Finished(done.returncode, done.stdout, done.stderr.decode(), time.monotonic() - began)
    told = f"cdc {' '.join(map(str, arguments))} ended with {finished.code}:\n{finished.stderr}"
    assert finished.code in (code if isinstance(code, tuple) else (code,)), told
    check_standard_error(finished.stderr, finished.code)
    if finished.code not in WITHOUT_ERROR_LINE:
        assert finished.stdout == b"", told
    return finished


def check_standard_error(text: str, code: int) -> list[dict[str, Any]]:
    """Return the log records of a command that ended with ``code``.

    Fails where there is anything but log records and, at the end of a failure, one error line; where a record
    speaks of a bug; or where there is a traceback.
    """
    assert "Traceback" not in text, text
    assert "unexpected " not in text, text
    lines = text.splitlines()
    if code not in WITHOUT_ERROR_LINE and code >= 0:
        assert lines, f"exit {code} without a line that says why"
        assert lines[-1].startswith("error: "), text
        lines.pop()
    return [_record(line, text) for line in lines]


def _record(line: str, text: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        raise AssertionError(f"a line that is no log record: {line}\n{text}") from None
    # How asyncio reports an exception that nobody has taken; aiokafka 0.14 takes none of its coordinator's.
    assert "never retrieved" not in record["event"] or "GroupCoordinator" in record["event"], text
    assert "exception" not in record, text
    return record


class Running:
    """A command that goes on until it is stopped or killed; use as ``with``, which kills what is left.

    Args:
        folder: its standard error is kept in a file there.
        arguments: what follows ``cdc``.
        program: the folder that holds the packages; another one for another version.
    """

    def __init__(self, folder: Path, *arguments: str | Path, program: Path = PROJECT) -> None:
        self.name = f"{arguments[0]}-{next(_run_numbers)}"
        self._log = folder / f"{self.name}.log"
        self._stopped_by_us: signal.Signals | None = None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                _command(arguments),
                cwd=program,
                env=_environment() | {"PYTHONPATH": str(program)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it has said so far, up to the last whole line."""
        text = self._log.read_text()
        return text[: text.rfind("\n") + 1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its log records so far."""
        return check_standard_error(self.stderr, DONE)

    def says(self, event: str) -> bool:
        """Whether it has logged an event that begins so; fails when it has ended by itself meanwhile."""
        self.check_alive()
        return self.said(event)

    def said(self, event: str) -> bool:
        """Whether it has logged an event that begins so, before it ended."""
        return any(record["event"].startswith(event) for record in self.records)

    def wait_for(self, event: str, limit_s: float = 30.0) -> None:
        """Return when it has logged an event that begins so."""
        wait_until(lambda: self.says(event), limit_s, f"{self.name} says {event!r}")

    def check_alive(self) -> None:
        """Fail when it has ended by itself."""
        code = self._process.poll()
        assert code is None, f"{self.name} ended with {code}:\n{self.stderr}"

    def kill(self) -> None:
        """SIGKILL."""
        self.check_alive()
        self._process.kill()
        self._process.wait()
        assert self.records is not None

    def suspend(self) -> None:
        """SIGSTOP, at whatever it is doing."""
        suspend(self._process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> float:
        """End it by a signal and return the seconds it took; it must end with 0 in good time."""
        self.check_alive()
        began = time.monotonic()
        self._process.send_signal(sign)
        code = self.wait(STOP_S_MAX + _STOP_MEASURING_S)
        assert code == DONE, f"{self.name} ended with {code}:\n{self.stderr}"
        return time.monotonic() - began

    def wait(self, limit_s: float) -> int:
        """Wait for it to end by itself; return its exit code."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} goes on after {limit_s:g} s:\n{self.stderr}") from None
        check_standard_error(self._log.read_text(), code)
        return code


def _command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "cdc", *map(str, arguments)]


def _environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
    return {"PYTHONWARNINGS": "default"} | clean | {"PYTHONPATH": str(PROJECT), "CDC_LOG_FORMAT": "json"}

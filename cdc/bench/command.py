"""Runs the commands that are measured, each in a process of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cdc.bench.process import can_look, peak_bytes
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_SECONDS_MAX = 600.0
"""How long one command may take: more means that something is wrong."""

_CODE = str(Path(__file__).parents[2])
_STOP_SECONDS_MAX = 10.0
_LOOK_SECONDS = 0.01


class Outcome(msgspec.Struct, frozen=True):
    """What a command that ended printed and used: ``result`` is its JSON document.

    ``seconds`` are those that the command itself reports, without the start of Python.
    """

    result: dict[str, Any]
    cpu_seconds: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """How long the command worked."""
        return self.result["seconds"]


class Commands:
    """The command line for one source, one cache and, where given, one topic.

    Args:
        folder: where its files are; a configuration file of ours keeps any other from being found.
        source: the database: a file, or a URL.
        cache: the redb file.
        kafka: flags that say where Kafka and the topic are.
    """

    def __init__(self, folder: Path, source: Path | str, cache: Path, kafka: tuple[str, ...] = ()) -> None:
        config = folder / "cdc.toml"
        config.touch()
        self._log = folder / "commands.log"
        url = f"file:{source}" if isinstance(source, Path) else source
        self._flags = [f"--config={config}", f"--source={url}", f"--cache={cache}", "--node=bench"]
        self._flags += [*kafka, "--log-level=warning"]

    def run(self, *command: str) -> Outcome:
        """Runs a command to its end.

        Raises:
            CdcError: it failed; the message holds its own.
        """
        with self._log.open("ab") as log, tempfile.TemporaryFile() as output:
            child = subprocess.Popen(  # noqa: S603 -- our own command
                self._arguments(*command, "--json"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=_environment(),
            )
            try:
                peak, cpu = _watch(child)
            finally:
                _end(child)
            output.seek(0)
            printed = output.read()
        if child.returncode:
            raise CdcError(f"cdc {command[0]} failed ({child.returncode}): {self._last_line()}")
        return Outcome(json.loads(printed), cpu, peak)

    @contextmanager
    def running(self, *command: str) -> Iterator[int]:
        """Starts a command that runs until it is told to stop, at the end of the block; gives its process id.

        Raises:
            CdcError: it did not run until then.
        """
        with self._log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 -- our own command
                self._arguments(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        try:
            yield child.pid
            if child.poll() is not None:
                raise CdcError(f"cdc {command[0]} ended early ({child.returncode}): {self._last_line()}")
        finally:
            _end(child)

    def _arguments(self, *command: str) -> list[str]:
        return [sys.executable, "-m", "cdc", *command, *self._flags]

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1].removeprefix("error: ") if lines else "it said nothing"


def _environment() -> dict[str, str]:
    """The environment without the variables that stand for flags, and with the code that runs here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDC_")}
    paths = [_CODE, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def _watch(child: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Waits for a child's end; gives the peak of its memory and the processor time it used."""
    deadline = time.monotonic() + COMMAND_SECONDS_MAX
    peak = 0
    while True:
        if can_look():
            peak = max(peak, peak_bytes(child.pid))
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return peak, usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            raise CdcError(f"a command did not end within {COMMAND_SECONDS_MAX:g} s", "give fewer --rows")
        time.sleep(_LOOK_SECONDS)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()

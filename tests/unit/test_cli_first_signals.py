"""A signal before the command has begun its work: in the imports, which take a while."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.command import PROJECT

SIGNALLED = """
import os, signal, sys
sys.path.insert(0, {project!r})

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder)
sys.argv = ["cdc", "sync", "--source", "none.db"]
from cdc.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["cdc.cli.app", "msgspec", "cyclopts", "rich", "cdc.cli.sync", "uvloop"])
def test_a_signal_while_modules_are_imported_ends_with_0_and_without_a_word(
    module: str, number: signal.Signals
):
    script = SIGNALLED.format(project=str(PROJECT), module=module, number=int(number))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_of_others_is_imported_before_signals_are_taken():
    script = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import cdc.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"schemas", "consumers", "msgspec", "typing", "asyncio"}


def test_a_signal_that_was_ignored_from_the_start_stays_so():
    script = SIGNALLED.format(project=str(PROJECT), module="msgspec", number=int(signal.SIGINT))
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + script
    done = subprocess.run([sys.executable, "-c", ignoring], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "none.db" in done.stderr


def test_the_position_is_still_part_of_the_package():
    import cdc
    from schemas import Position

    assert cdc.Position is Position
    assert not hasattr(cdc, "Velocity")

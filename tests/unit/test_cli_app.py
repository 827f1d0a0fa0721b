"""The command line as a whole: how it starts, fails and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import pytest
from cyclopts import Parameter

from cdc.cli import app
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result, table
from schemas.errors import CdcError, ExitCode, GaveUpError, OperatorError
from tests.support.caches import EPISODES, make_cache
from tests.support.command import PROJECT, Ended, cdc_process, command_line

if TYPE_CHECKING:
    from collections.abc import Callable

    Cdc = Callable[..., Ended]


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Add a command as the head of cdc/cli/app.py says."""

    def add(function: Callable[..., object]) -> None:
        name = function.__name__
        module = ModuleType(f"cdc.cli.{name}")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(app.COMMANDS, name, f"The command {name}.")

    return add


def test_every_command_has_a_file_and_help(cdc: Cdc):
    ended = cdc("--help")
    assert ended.code == 0
    for name, summary in app.COMMANDS.items():
        assert f" {name} " in ended.out
        help_text = " ".join(cdc(name, "--help").out.split())
        assert summary in help_text
        assert "env var: CDC_CONFIG" in help_text


def test_every_flag_names_its_environment_variable():
    whole = app.make_app()
    for name in app.COMMANDS:
        for argument in whole[name].assemble_argument_collection():
            flags = [flag for flag in argument.names if flag.startswith("--")]
            if flags:
                assert argument.parameter.env_var == (f"CDC_{flags[0][2:].upper().replace('-', '_')}",), name


def test_the_version_is_told(cdc: Cdc):
    ended = cdc("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("cdc ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nothing"], 'error: Unknown command "nothing"'),
        (["get"], "error: "),
        (["get", "t", "--no-such"], "error: Unknown option"),
        (["get", "t", "--log-level", "loud"], 'error: Invalid value "loud" for --log-level'),
        (["get", "t", "--timeout", "soon"], "error: Invalid value for --timeout: that is not a duration"),
        (["scan", "t", "--limit", "many"], "error: Invalid value"),
        (["--config"], "error: "),
        (["--json", "get", "t"], "error: "),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(cdc: Cdc, arguments: list[str], line: str):
    ended = cdc(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("form", [["--config", "a.toml"], ["--config=a.toml"]])
def test_the_configuration_may_precede_the_command(cdc: Cdc, form: list[str]):
    assert "a.toml cannot be read" in cdc(*form, "get", "t", "--", "--config").err
    assert cdc(*form, "--version").code == 0
    assert cdc(*form).code == 0


def test_a_flag_after_the_command_and_the_environment_name_the_configuration(
    cdc: Cdc, monkeypatch: pytest.MonkeyPatch
):
    assert "b.toml cannot be read" in cdc("get", "t", "--config", "b.toml").err
    monkeypatch.setenv("CDC_CONFIG", "c.toml")
    assert "c.toml cannot be read" in cdc("get", "t").err
    assert "b.toml cannot be read" in cdc("get", "t", "--config", "b.toml").err


def test_common_flags_and_their_environment_reach_a_command(
    cdc: Cdc, add_command: Callable[[Callable[..., object]], None], monkeypatch: pytest.MonkeyPatch
):
    seen: list[Common] = []

    def look(
        *, once: Annotated[bool, Parameter(env_var="CDC_ONCE")] = False, common: Common = DEFAULTS
    ) -> None:
        assert once
        seen.append(common)

    add_command(look)
    monkeypatch.setenv("CDC_ONCE", "true")
    monkeypatch.setenv("CDC_NODE", "from-environment")
    monkeypatch.setenv("CDC_TIMEOUT", "250ms")
    assert cdc("look", "--json", "--topic", "t", "--bootstrap-servers", "h:1").code == 0
    (common,) = seen
    assert (common.node, common.timeout_s, common.json) == ("from-environment", 0.25, True)
    config = common.load()
    assert (config.cache.node, config.need_kafka().topic) == ("from-environment", "t")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CdcError("it broke", "mend it"), 1),
        (OperatorError("it broke", "mend it"), 4),
        (GaveUpError("it\nbroke", "mend it"), 5),
    ],
)
def test_each_error_is_one_line_and_its_own_exit_code(
    cdc: Cdc, add_command: Callable[[Callable[..., object]], None], error: CdcError, code: int
):
    def fail() -> None:
        raise error

    add_command(fail)
    assert cdc("fail") == Ended(code, "", "error: it broke; mend it\n")


def test_an_unexpected_error_is_one_line_and_its_traceback_only_for_debugging(
    cdc: Cdc, add_command: Callable[[Callable[..., object]], None]
):
    def fail(*, common: Common = DEFAULTS) -> None:
        raise ZeroDivisionError(f"in {common.log_level}\x1b[0m")

    add_command(fail)
    ended = cdc("fail")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: unexpected ZeroDivisionError: in info\\x1b[0m; run it with")
    assert ended.err.count("\n") == 1
    assert "Traceback" in cdc("fail", "--log-level", "debug").err


def test_an_exit_code_and_a_result_are_passed_on(
    cdc: Cdc, add_command: Callable[[Callable[..., object]], None]
):
    def differ(*, common: Common = DEFAULTS) -> int:
        print_result(common, {"equal": False}, table(["a"], [["x\x1by"]]))
        return ExitCode.DIFFERENT

    add_command(differ)
    assert cdc("differ", "--json") == Ended(3, '{"equal":false}\n', "")
    assert cdc("differ").out.split() == ["a", "x\\x1by"]


def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path: Path):
    make_cache(tmp_path / "cache.redb", {EPISODES: [(f"ep-{n:06}", 0.5) for n in range(20_000)]}).close()
    command = subprocess.Popen(
        command_line("dump"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stderr is not None
    assert b'"ep-000000"' in command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait(30) == 0
    command.stderr.close()


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path):
    make_cache(tmp_path / "cache.redb", {EPISODES: [("ep-1", 0.5)]}).close()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command_line("get", "episodes", "ep-1"),
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


WAITING = """
import asyncio, os, signal, sys, types
sys.path.insert(0, {project!r})
import cdc.cli
from cdc.cli import app
from cdc.cli.running import run_async

async def work(stop):
    print("ready", flush=True)
    try:
        await stop.wait()
        print("finished what was in hand", flush=True)
    finally:
        print("clean", flush=True)

def graceful():
    stop = asyncio.Event()
    run_async(work(stop), stop=stop)

def cancelled():
    run_async(work(asyncio.Event()))

def printing():
    async def finish(stop):
        print("ready", flush=True)
        await stop.wait()
    stop = asyncio.Event()
    run_async(finish(stop), stop=stop)
    os.kill(os.getpid(), signal.SIGTERM)

def stuck():
    async def sleep():
        print("ready", flush=True)
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                pass
    run_async(sleep(), stop=asyncio.Event())

def reading():
    import time
    print("ready", flush=True)
    time.sleep(100)

name = sys.argv[1]
module = types.ModuleType("cdc.cli." + name)
setattr(module, name, globals()[name])
sys.modules[module.__name__] = module
app.COMMANDS[name] = "Wait."
sys.argv = ["cdc", name]
cdc.cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("graceful", ["finished what was in hand", "clean"]),
        ("cancelled", ["clean"]),
        ("reading", []),
        ("printing", []),
    ],
)
def test_a_signal_ends_a_command_in_good_order(name: str, printed: list[str], number: signal.Signals):
    ended = signalled(name, [number])
    assert ended == Ended(0, "\n".join([*printed, ""]) if printed else "", "")


def test_a_second_signal_does_not_wait_for_what_is_in_hand():
    assert signalled("graceful", [signal.SIGINT, signal.SIGINT]).code == 0


@pytest.mark.slow
def test_a_command_that_will_not_stop_is_ended_within_five_seconds():
    assert signalled("stuck", [signal.SIGTERM], limit_s=5.0) == Ended(0, "", "")


def signalled(name: str, numbers: list[signal.Signals], limit_s: float = 30.0) -> Ended:
    command = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(project=str(PROJECT)), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "ready\n"
    for number in numbers:
        os.kill(command.pid, number)
    out, err = command.communicate(timeout=limit_s)
    return Ended(command.returncode, out, err)


def test_an_empty_environment_variable_counts_as_not_given(tmp_path: Path):
    make_cache(tmp_path / "cache.redb", {EPISODES: [("ep-1", 0.5)]}).close()
    empty = dict.fromkeys(("CDC_CONFIG", "CDC_CACHE", "CDC_JSON", "CDC_TIMEOUT"), "")
    ended = cdc_process("get", "episodes", "ep-1", cwd=tmp_path, env={**os.environ, **empty})
    assert (ended.code, ended.err) == (0, "")


def test_the_installed_entry_point_ends_the_process_with_the_exit_code(tmp_path: Path):
    assert cdc_process("get", "episodes", "x", cwd=tmp_path).code == 2

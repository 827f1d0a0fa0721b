"""Standard streams that are closed, full, or of a narrow encoding."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from cdc.demo.story import _Story
from tests.support.caches import EPISODES, make_cache
from tests.support.command import cdc_process, command_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Ended


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache.redb"
    make_cache(path, {EPISODES: [("ep-☃", 0.5)]}).close()
    return path


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", [["dump"], ["get", "episodes", "ep-☃"], ["status"], ["--help"]])
def test_closed_streams_are_no_failure(cache: Path, command: list[str], closed: str):
    done = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "bash", *command_line(*command)],
        cwd=cache.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [["dump"], ["get", "episodes", "ep-☃"], ["status", "--json"], ["--help"]])
def test_a_full_disk_behind_the_output_is_one_error_line(cache: Path, command: list[str]):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command_line(*command), cwd=cache.parent, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"error: No space left on device\n")


def test_what_a_narrow_encoding_does_not_have_is_escaped(cache: Path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = cdc_process("get", "episodes", "ep-☃", cwd=cache.parent, env=env)
    assert (ended.code, ended.err) == (0, "")
    assert '"ep-\\u2603"' in ended.out


def test_an_unknown_command_is_told_without_a_broken_list(cdc: Callable[..., Ended]):
    assert cdc("nothing").err == 'error: Unknown command "nothing"; see: cdc --help\n'


def test_sql_is_printed_as_one_json_document(cdc: Callable[..., Ended], tmp_path: Path):
    source = tmp_path / "app.db"
    source.touch()
    first = cdc("install", "--print-sql", "--json", "--source", str(source))
    assert first.code == 0
    assert any("_cdc_log" in statement for statement in first.json()["sql"])
    assert cdc("install", "--source", str(source)).code == 0
    assert cdc("install", "--print-sql", "--json", "--source", str(source)).json() == {"sql": []}


def test_a_demo_folder_that_cannot_be_made_is_a_wrong_flag(cdc: Callable[..., Ended], tmp_path: Path):
    (tmp_path / "file").touch()
    ended = cdc("demo", "--folder", str(tmp_path / "file" / "x"))
    assert (ended.code, ended.out) == (2, "")
    assert "cannot be made: Not a directory; give another one with --folder" in ended.err


def test_the_demo_is_told_nothing_by_another_deployments_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "cdc.toml").write_text('[tables.nothing]\nkey_columns = ["x"]\n')
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDC_CONFIG", "cdc.toml")
    monkeypatch.setenv("CDC_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    story = _Story(tmp_path / "demo", Console(quiet=True), None)
    story._application.create()  # the whole demo takes half a minute
    assert story._cdc_json("sync")["rows"] > 0
    story._application.close()


@pytest.mark.parametrize("command", [["--help"], ["get", "--help"], ["status"], ["--version"]])
def test_a_reader_that_is_gone_before_the_first_line_is_no_failure(cache: Path, command: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command_line(*command), cwd=cache.parent, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_usage_names_arguments_as_the_contract_does(cdc: Callable[..., Ended]):
    assert cdc("get", "--help").out.startswith("Usage: cdc get [OPTIONS] TABLE KEY...\n")
    assert cdc("dump", "--help").out.startswith("Usage: cdc dump [OPTIONS] [TABLE...]\n")

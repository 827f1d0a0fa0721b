"""cdc tail: which records of a topic become lines, and what the change log gives."""

from __future__ import annotations

import json
import select
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cdc.cli.tail_kafka import TailedGroups
from cdc.cli.tail_lines import GroupLines
from consumers.assembler import Assembler
from schemas.event import Op
from tests.support.command import command_line
from tests.support.conditions import wait_until
from tests.support.database import execute
from tests.support.events import Landed, group

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

_LIMIT_S = 30.0


def printed(capfdbinary: pytest.CaptureFixture[bytes], records: list[Landed], **options: Any) -> list[Any]:
    """The lines that a topic of these records gives."""
    control = options.pop("control", False)
    with GroupLines(options.pop("rows_max", None)) as lines:
        groups = TailedGroups("cdc.t", lines, control=control)
        assembler = Assembler(groups, 0)
        for record in records:
            groups.look_at(record)
            assembler.feed(iter((record,)), 1)
            if groups.whole:
                groups.whole = False
                lines.write()
                lines.clear()
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


def ids(lines: list[Any]) -> list[int]:
    return [line["key"][0] for line in lines]


def test_a_whole_group_is_printed_with_its_position_and_its_last_event_marked(
    capfdbinary: pytest.CaptureFixture[bytes],
):
    lines = printed(capfdbinary, group(0, 0, 3, [(1, "a"), (2, None)]))
    assert lines == [
        {
            "op": op,
            "table": "t",
            "key": [key],
            "before": None,
            "after": after,
            "position": {"epoch": 1, "change_id": 3},
            "ts_ms": 0,
            "end": end,
            "source": {"change_id": 3, "prev": 0, "exact_at": 3},
            "kafka": {"topic": "cdc.t", "partition": 0, "offset": offset},
        }
        for op, key, after, end, offset in [
            ("u", 1, {"id": 1, "v": "a"}, False, 0),
            ("d", 2, None, True, 1),
        ]
    ]


def test_void_torn_repeated_and_strange_records_are_not_printed(capfdbinary: pytest.CaptureFixture[bytes]):
    records = [
        *group(0, 0, 3, [(1, "a"), (2, "b")])[:1],
        *group(1, 0, 3, [(3, "c")], writer=2),
        *group(7, 3, 4, [(4, "d")], landed=2),
        Landed(3, None, b"no event"),
        *group(4, 0, 3, [(5, "e")], writer=3),
        *group(5, 3, 6, [(6, "f")], writer=3),
    ]
    assert ids(printed(capfdbinary, records)) == [3, 6]


def test_tail_goes_on_over_holes_and_into_new_epochs_but_not_back(capfdbinary: pytest.CaptureFixture[bytes]):
    records = [
        *group(0, 5, 6, [(1, "a")]),
        *group(1, 8, 9, [(2, "b")]),
        *group(2, 2, 3, [(3, "c")], epoch=2, epoch_nonce=22),
        *group(3, 9, 10, [(4, "d")]),
    ]
    assert ids(printed(capfdbinary, records)) == [1, 2, 3]


def test_control_events_are_printed_on_request_only(capfdbinary: pytest.CaptureFixture[bytes]):
    records = [
        *group(0, 3, 3, []),
        *group(1, 3, 4, [(1, "a")], truncate=True),
        *group(3, 4, 4, [], op=Op.END),
    ]
    assert [line["op"] for line in printed(capfdbinary, records)] == ["t", "u"]
    assert [line["op"] for line in printed(capfdbinary, records, control=True)] == ["h", "t", "u", "e"]


def test_a_group_larger_than_memory_waits_in_a_file(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cdc.limits.TAIL_BYTES_IN_MEMORY", 1000)
    rows: list[tuple[int, str | None]] = [(number, "x" * 100) for number in range(100)]
    assert ids(printed(capfdbinary, group(0, 0, 3, rows))) == list(range(100))


@pytest.fixture
def source(tmp_path: Path, cdc: Cdc) -> Path:
    path = tmp_path / "app.db"
    execute(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    execute(path, "INSERT INTO t VALUES (1, 'a')")
    assert cdc("install", "--source", "app.db").code == 0
    return path


def test_the_change_log_is_printed_from_its_beginning_to_its_end(cdc: Cdc, source: Path):
    execute(source, "INSERT INTO t VALUES (2, x'00')")
    ended = cdc("tail", "--source", "app.db", "--from-beginning", "--no-follow")
    assert ended.code == 0
    lines = ended.json_lines()
    assert [(line["op"], line["key"], line["end"]) for line in lines] == [
        ("t", None, False),
        ("r", [1], False),
        ("r", [2], True),
    ]
    assert lines[2]["after"] == {"id": 2, "v": {"$blob": "AA=="}}
    assert "kafka" not in lines[0]
    assert len({json.dumps(line["position"]) for line in lines}) == 1


def test_a_limit_ends_it_after_so_many_row_events(cdc: Cdc, source: Path):
    assert source.exists()
    lines = cdc("tail", "--source", "app.db", "--from-beginning", "--limit", "1").json_lines()
    assert [line["op"] for line in lines] == ["t", "r"]


def test_without_following_it_prints_nothing_of_what_was_before(cdc: Cdc, source: Path):
    assert source.exists()
    ended = cdc("tail", "--source", "app.db", "--no-follow")
    assert (ended.code, ended.out) == (0, "")


def test_a_source_without_capture_is_one_line(cdc: Cdc, tmp_path: Path):
    execute(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    ended = cdc("tail", "--source", "app.db")
    assert ended.code == 1
    assert "cdc install" in ended.err


def test_it_follows_until_told_to_stop(source: Path):
    with following(source) as process, process.stdout:
        line = first_line(source, process)
        assert (line["op"], line["position"]["change_id"] > 0) == ("c", True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_LIMIT_S) == 0


def test_it_ends_quietly_when_nobody_reads_it_any_more(source: Path):
    with following(source) as process:
        assert first_line(source, process)
        process.stdout.close()
        assert process.wait(_LIMIT_S) == 0
        assert process.stderr.read() == b""
        process.stderr.close()


def following(source: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_line("tail", "--source", str(source)),
        cwd=source.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def first_line(source: Path, process: subprocess.Popen[bytes]) -> Any:
    """Change rows until one of them is seen: nobody says when the command has begun to follow."""
    numbers = iter(range(100, 10_000))

    def see() -> bytes:
        execute(source, f"INSERT INTO t VALUES ({next(numbers)}, 1)")
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        return process.stdout.readline() if ready else b""

    return json.loads(wait_until(see, _LIMIT_S, "a line is printed"))

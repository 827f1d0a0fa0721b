"""Logs go to standard error, in one of two forms, and libraries may not flood them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import pytest
import structlog

from cdc.logs import LIBRARY_RECORDS_MAX, RepetitionFilter, configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [msgspec.json.decode(line) for line in err.splitlines()]


def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]):
    configure_logs("json", "info")
    structlog.get_logger("cdc.test").info("group applied", change_id=7)
    structlog.get_logger("cdc.test").debug("not now")
    (line,) = lines(capsys)
    assert {"event": "group applied", "level": "info", "change_id": 7}.items() <= line.items()
    assert str(line["timestamp"]).endswith("Z")


def test_console_logs_are_lines_for_people(capsys: pytest.CaptureFixture[str]):
    configure_logs("console", "warning")
    structlog.get_logger("cdc.test").info("not now")
    structlog.get_logger("cdc.test").warning("source away", retry_s=1.5)
    _, err = capsys.readouterr()
    assert "[warning  ] source away" in err
    assert "retry_s=1.5" in err
    assert err.count("\n") == 1


def test_library_logs_take_the_same_form(capsys: pytest.CaptureFixture[str]):
    configure_logs("json", "info")
    logging.getLogger("aiokafka.conn").error("connect to %s failed", "host:9092")
    logging.getLogger("aiokafka.conn").info("not now")
    (line,) = lines(capsys)
    assert {
        "event": "connect to host:9092 failed",
        "level": "error",
        "logger": "aiokafka.conn",
    }.items() <= line.items()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_an_exception_is_a_line_and_its_traceback_only_for_debugging(
    capsys: pytest.CaptureFixture[str], level: str
):
    configure_logs("json", "debug" if level == "debug" else "info")
    secret = "hunter2"
    try:
        int("a\nb" if secret else "")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")
        structlog.get_logger("cdc.test").exception("poll failed")
    for line in lines(capsys):
        if level == "info":
            assert line["error"] == "ValueError: invalid literal for int() with base 10: 'a\\nb'"
            assert "exception" not in line
        else:
            assert "Traceback" in str(line["exception"])
            assert secret not in str(line)


def test_what_a_library_repeats_is_dropped(capsys: pytest.CaptureFixture[str]):
    configure_logs("json", "info")
    for number in range(1000):
        logging.getLogger("aiokafka").warning("topic %s not found", number)
    logging.getLogger("aiokafka").warning("something else")
    assert [line["event"] for line in lines(capsys)] == [
        *(f"topic {number} not found" for number in range(LIBRARY_RECORDS_MAX)),
        "something else",
    ]


def test_after_a_while_it_is_said_how_much_was_dropped():
    repetitions = RepetitionFilter(records_max=2, window_s=0.0)
    record = logging.LogRecord("aiokafka", logging.WARNING, "", 0, "topic %s", ("t",), None)
    key = ("aiokafka", "topic %s")
    repetitions._seen[key] = (0.0, 9)
    assert repetitions.filter(record)
    assert record.getMessage() == "topic t (and 7 more like it)"


def test_memory_of_messages_is_bounded():
    repetitions = RepetitionFilter()
    for number in range(5000):
        record = logging.LogRecord("x", logging.WARNING, "", 0, f"message {number}", None, None)
        assert repetitions.filter(record)
    assert len(repetitions._seen) <= 1000

"""What every kind of test shares: the real servers, started only when a test asks for one."""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.kafka import KafkaBroker
from tests.support.parts import count_missing

if TYPE_CHECKING:
    from collections.abc import Iterator

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what runs in the background ignore it, and every command that is started here would as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_topic_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker for the whole run; each test that asks for it finds it alive, whatever the last one did."""
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _kafka_is_alive(request: pytest.FixtureRequest) -> None:
    if "kafka" in request.fixturenames:
        request.getfixturevalue("kafka").ensure_running()


@pytest.fixture
def topic() -> str:
    """A name that no other test of this run uses; the topic itself is not made."""
    return f"cdc.test-{os.getpid()}-{next(_topic_numbers)}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line, tests in count_missing(terminalreporter.getreports("skipped")).items():
        terminalreporter.write_line(f"NOT TESTED ({tests} tests): {line}", red=True, bold=True)

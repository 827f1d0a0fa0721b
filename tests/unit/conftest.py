"""What unit tests share."""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest
import structlog

from cdc.cli.app import run
from tests.support.command import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the source of a test is."""
    return str(tmp_path / "source.db")


@pytest.fixture
def db(path: str) -> Iterator[sqlite3.Connection]:
    """The application's connection to it; there is no table yet, and every statement is a transaction."""
    db = sqlite3.connect(path, isolation_level=None)
    yield db
    db.close()


@pytest.fixture
def cdc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Runs ``cdc`` in this process and an empty folder, with no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("CDC_"):
            monkeypatch.delenv(name)
    handlers = logging.getLogger().handlers[:]

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        code = run(arguments)
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    yield call
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()

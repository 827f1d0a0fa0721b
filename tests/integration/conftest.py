"""What integration tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sources import SERVED_KINDS, Source, empty_source
from tests.support.sqld import Sqld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def sqld_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    """One server for the whole run; ask for `sqld` to find it alive."""
    with Sqld(tmp_path_factory.mktemp("sqld")) as server:
        yield server


@pytest.fixture
def sqld(sqld_server: Sqld) -> Sqld:
    """The server, alive whatever the last test did to it."""
    sqld_server.ensure_running()
    return sqld_server


@pytest.fixture
async def source(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    """An empty database of the test's kind of driver."""
    server = request.getfixturevalue("sqld") if kind in SERVED_KINDS else None
    async with empty_source(kind, tmp_path, server) as empty:
        yield empty

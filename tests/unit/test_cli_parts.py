"""What the configuration's parts ask of their surroundings."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Ended


def test_a_token_is_only_asked_for_where_the_source_is_a_server(cdc: Callable[..., Ended]):
    Path("cdc.toml").write_text('[source]\nurl = "file:app.db"\nauth_token = "env:CDC_TEST_NO_SUCH_TOKEN"\n')
    with closing(sqlite3.connect("app.db")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    assert cdc("sync").code == 0
    ended = cdc("sync", "--source", "http://127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    assert "source.auth_token: the secret is missing; set the environment variable" in ended.err

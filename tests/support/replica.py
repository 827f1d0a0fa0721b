"""A replica kept from pages of changes, and what it must be equal to: fresh reads of the database itself."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from cdc.capture import CaptureStaleError
from schemas import (
    InvalidText,
    decode_definition,
    decode_key,
    decode_row,
    decode_values,
    encode_key,
    text_from_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc.capture import Capture, Change

Rows = dict[bytes, dict[str, Any]]


class Replica:
    """Tables as dicts from key bytes to rows; quarantined keys apart."""

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {}
        self.quarantined: dict[str, set[bytes]] = {}
        self.prev = 0
        self.polls = 0
        self.events: list[Change] = []

    def apply(self, page: Iterable[Change]) -> None:
        for op, table, key, values, after, *_ in page:
            if op == "t":
                self.tables.pop(table, None)
                self.quarantined.pop(table, None)
                if after is not None:
                    assert decode_definition(after).name == table
                    self.tables[table] = {}
                    self.quarantined[table] = set()
                continue
            assert encode_key(decode_values(values)) == key
            rows, quarantined = self.tables[table], self.quarantined[table]
            rows.pop(key, None)
            quarantined.discard(key)
            if op == "q":
                quarantined.add(key)
            elif op != "d":
                assert after is not None
                rows[key] = decode_row(after)

    async def poll(self, capture: Capture) -> list[Change]:
        """Apply one poll; install again where the schema has outgrown capture."""
        while True:
            try:
                return await self._poll(capture)
            except CaptureStaleError:
                await capture.install()

    async def _poll(self, capture: Capture) -> list[Change]:
        events: list[Change] = []
        async with capture.reading() as reader:
            state = await reader.state(self.prev)
            async for page in reader.changes(self.prev, state.high):
                self.apply(page)
                events += page
        self.prev = state.high
        self.polls += 1
        self.events = events
        return events


def typed(row: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Make values comparable that Python takes for equal: 1 and 1.0, 0.0 and -0.0."""
    return {name: _typed(value) for name, value in row.items()}


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, float):
        return "float", value.hex()
    return type(value).__name__, value.data if isinstance(value, InvalidText) else value


def read_table(path: str, table: str, key: list[str]) -> tuple[dict[bytes, dict[str, Any]], set[bytes]]:
    """Read a table afresh: rows by key, and the keys that hold NULL."""
    connection = sqlite3.connect(path)
    connection.text_factory = text_from_bytes
    quoted = table.replace('"', '""')
    cursor = connection.execute(f'SELECT * FROM "{quoted}"')
    names = [column[0] for column in cursor.description]
    rows: Rows = {}
    nulls: set[bytes] = set()
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        encoded = encode_key([row[name] for name in key])
        if any(row[name] is None for name in key):
            nulls.add(encoded)
        else:
            assert encoded not in rows
            rows[encoded] = row
    connection.close()
    return rows, nulls


def assert_equal(replica: Replica, path: str, keys: dict[str, list[str]]) -> None:
    """Compare every table of the replica with the database, types included."""
    assert sorted(replica.tables) == sorted(keys)
    for table, key in keys.items():
        rows, nulls = read_table(path, table, key)
        found = replica.tables[table]
        assert found.keys() == rows.keys(), table
        assert _without_signs_of_zero(replica.quarantined[table]) == _without_signs_of_zero(nulls), table
        for encoded, row in rows.items():
            assert typed(found[encoded]) == typed(row), table


def _without_signs_of_zero(keys: set[bytes]) -> set[bytes]:
    """Take 0.0 and -0.0 for one, as SQL does: keys that hold NULL are found by nothing finer."""
    return {
        encode_key([value or 0.0 if type(value) is float else value for value in decode_key(key)])
        for key in keys
    }

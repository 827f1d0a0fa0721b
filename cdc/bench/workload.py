"""The table that is measured: TPC-C's customer, 21 columns and about 500 bytes of values a row."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

Journal = Literal["wal", "rollback"]
"""How a database writes; rollback is SQLite's default, in which a commit waits for every reader."""

TABLE = "customer"
COLUMNS = 21

_SCHEMA = f"""CREATE TABLE {TABLE}(
    c_id INTEGER PRIMARY KEY, c_d_id INTEGER, c_w_id INTEGER, c_first TEXT, c_middle TEXT, c_last TEXT,
    c_street_1 TEXT, c_street_2 TEXT, c_city TEXT, c_state TEXT, c_zip TEXT, c_phone TEXT, c_since INTEGER,
    c_credit TEXT, c_credit_lim REAL, c_discount REAL, c_balance REAL, c_ytd_payment REAL,
    c_payment_cnt INTEGER, c_delivery_cnt INTEGER, c_data TEXT)"""

INSERT = f"INSERT INTO {TABLE} VALUES ({', '.join('?' * COLUMNS)})"
UPDATE = f"UPDATE {TABLE} SET c_balance = ?, c_ytd_payment = ?, c_payment_cnt = ?, c_data = ? WHERE c_id = ?"
UNIQUE_INDEX = f"CREATE UNIQUE INDEX {TABLE}_since ON {TABLE}(c_since)"
"""What makes REPLACE able to delete a row of another key: such a table's triggers do more."""

UPDATE_UNIQUE = UPDATE.replace(" WHERE", ", c_since = ? WHERE")
"""`UPDATE` that changes the indexed column too; its parameter is the last but one."""

SELECT_ALL = f"SELECT * FROM {TABLE} ORDER BY c_id"

_TRANSACTION_ROWS = 10_000
_FETCH_ROWS = 1000
_POOL_CHARS = 1 << 16
_DATA_CHARS = 330
_SINCE = 1_780_000_000
_LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 "


class Rows:
    """Makes rows, the same from the same seed. Texts are cut from a pool: making them must cost little."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- sample data
        self._pool = "".join(self._random.choices(_LETTERS, k=_POOL_CHARS))

    def insert(self, number: int) -> tuple[Any, ...]:
        """The parameters of `INSERT` for the row with this id."""
        draw, text = self._random.random, self._text
        head = (number, number % 10, number % 7, text(10), "OE", text(12), text(16), text(16), text(14))
        middle = ("NY", text(9), text(16), _SINCE + number, "GC", 50_000.0, draw())
        return (*head, *middle, draw() * 1e4, draw() * 1e4, 1, 0, text(_DATA_CHARS))

    def update(self, number: int) -> tuple[Any, ...]:
        """The parameters of `UPDATE` for the row with this id."""
        draw = self._random.random
        return (draw() * 1e4, draw() * 1e4, int(draw() * 1e6), self._text(_DATA_CHARS), number)

    def update_unique(self, number: int, since: int) -> tuple[Any, ...]:
        """The parameters of `UPDATE_UNIQUE`; ``since`` is above 0, and no other row's."""
        *values, key = self.update(number)
        return (*values, -since, key)

    def pick(self, rows: int) -> int:
        """The id of any of the first ``rows`` rows."""
        return int(self._random.random() * rows) + 1

    def _text(self, chars: int) -> str:
        start = int(self._random.random() * (_POOL_CHARS - chars))
        return self._pool[start : start + chars]


def connect(path: Path, journal: Journal = "wal") -> sqlite3.Connection:
    """Opens a database as a careful application does: in WAL mode synchronous NORMAL, else FULL."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {'WAL' if journal == 'wal' else 'DELETE'}")
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'wal' else 'FULL'}")
    return connection


def create(path: Path, rows: int = 0, *, journal: Journal = "wal", unique: bool = False) -> None:
    """Makes a database with the table and its first rows, ids from 1; ``unique`` adds `UNIQUE_INDEX`."""
    with closing(connect(path, journal)) as connection:
        connection.execute(_SCHEMA)
        if unique:
            connection.execute(UNIQUE_INDEX)
        fill(connection, 1, rows)


def fill(connection: sqlite3.Connection, first: int, rows: int) -> None:
    """Inserts rows with ids from ``first`` on, in large transactions."""
    source = Rows()
    for start in range(first, first + rows, _TRANSACTION_ROWS):
        stop = min(start + _TRANSACTION_ROWS, first + rows)
        connection.execute("BEGIN")
        connection.executemany(INSERT, map(source.insert, range(start, stop)))
        connection.execute("COMMIT")


def row_bytes(connection: sqlite3.Connection) -> int:
    """The size of a row's values on average, as SQLite stores them (a REAL as 8 bytes, an INTEGER as 4)."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")]
    sizes = "+".join(
        f"CASE typeof({c}) WHEN 'text' THEN length({c}) WHEN 'real' THEN 8 ELSE 4 END" for c in columns
    )
    return round(connection.execute(f"SELECT avg({sizes}) FROM {TABLE}").fetchone()[0] or 0)


def fetch_all(path: Path, sql: str, *parameters: Any) -> None:
    """Fetches a query's rows in parts and does nothing with them: the ceiling of reading a source."""
    with closing(connect(path)) as connection:
        cursor = connection.execute(sql, parameters)
        while cursor.fetchmany(_FETCH_ROWS):
            pass

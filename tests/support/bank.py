"""A database under live writers whose every committed state can be told from any other: a torn one is seen.

Each transaction touches several keys of several tables, keeps what `check_whole` checks, and writes its
writer's row of ``counters`` last.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.support.conditions import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEYS = {
    "accounts": ("id",),
    "counters": ("writer",),
    "documents": ("id",),
    "entries": ("account", "seq"),
}
"""The tables, and the columns of each one's key."""

WRITERS = 2
OPENING = 1_000
"""What every account begins with."""

_ACCOUNTS = 200
_WRITER_STEP, _TURN_STEP = 10**12, 10**4
"""Numbers of entries and versions of documents say which transaction of which writer wrote them."""
_BULK_EVERY = 150
_PAUSE_S = 0.003
"""Between the transactions of one writer: the machine is needed for what is tested."""
_LIMIT_S = 60.0

_SCHEMA = """
CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, share REAL, note COLLATE NOCASE);
CREATE TABLE entries (account INTEGER NOT NULL, seq INTEGER NOT NULL, amount INTEGER NOT NULL, memo,
    PRIMARY KEY (account, seq)) WITHOUT ROWID;
CREATE TABLE documents (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, body, size AS (length(body)));
CREATE TABLE counters (writer TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL, entries INTEGER NOT NULL);
"""


def make_bank(path: Path, rows: int, generator: random.Random) -> None:
    """Create the database, in WAL mode, with at least so many rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_SCHEMA)
        connection.executemany(
            "INSERT INTO accounts VALUES (?, ?, ?, ?)",
            [(number, OPENING, number / 7, f"Account {number}") for number in range(_ACCOUNTS)],
        )
        opening = _Transaction(connection, 0, 0, generator)
        for number in range(rows // 4):
            opening.transfer()
            opening.write_twins(f"{number:06}")
        connection.executemany(
            "INSERT INTO counters VALUES (?, 0, ?)",
            [(str(writer), 0 if writer else opening.entries) for writer in range(WRITERS + 1)],
        )
        connection.commit()


class Writers:
    """Threads that go on writing until they are stopped; use as ``with``.

    Args:
        path: a database of `make_bank`.
        seed: of what they write.
        bulk: transfers of the big transaction that comes now and then, four rows each.
    """

    def __init__(self, path: Path, seed: int, *, bulk: int = 100) -> None:
        self._stop = threading.Event()
        self._done = [0] * (WRITERS + 1)
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(path, writer, random.Random(seed + writer), bulk))
            for writer in range(1, WRITERS + 1)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_LIMIT_S)

    @property
    def transactions(self) -> int:
        """How many they have committed so far; raises what a writer met."""
        if self._failures:
            raise self._failures[0]
        return sum(self._done)

    def wait_for(self, more: int, limit_s: float = _LIMIT_S) -> None:
        """Return when so many more are committed: a moment that no part of ours chooses."""
        until = self.transactions + more
        wait_until(lambda: self.transactions >= until, limit_s, f"{more} more transactions are committed")

    def stop(self) -> None:
        """Let them finish the transactions under way."""
        self.__exit__()
        assert self.transactions, "nothing was written"

    def _run(self, path: Path, writer: int, generator: random.Random, bulk: int) -> None:
        try:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=_LIMIT_S)) as connection:
                connection.execute("PRAGMA synchronous=NORMAL")
                turn = connection.execute(
                    "SELECT n FROM counters WHERE writer = ?", (str(writer),)
                ).fetchone()[0]
                while not self._stop.wait(_PAUSE_S):
                    turn += 1
                    transact(connection, writer, turn, generator, bulk if turn % _BULK_EVERY == 0 else 0)
                    self._done[writer] += 1
        except BaseException as error:  # noqa: BLE001 -- shown by whoever asks how far they came
            self._failures.append(error)


def transact(
    connection: sqlite3.Connection, writer: int, turn: int, generator: random.Random, bulk: int = 0
) -> None:
    """Run one transaction, the ``turn``-th of its writer: of ``bulk`` transfers, or a random one."""
    connection.execute("BEGIN IMMEDIATE")
    transaction = _Transaction(connection, writer, turn, generator)
    for _ in range(bulk):
        transaction.transfer()
    if not bulk:
        transaction.change_something()
    connection.execute(
        "UPDATE counters SET n = ?, entries = entries + ? WHERE writer = ?",
        (turn, transaction.entries, str(writer)),
    )
    connection.execute("COMMIT")


def check_whole(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Fail unless a dump is a committed state of the bank.

    Returns:
        How many transactions of each writer it holds.
    """
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in KEYS}
    for line in lines:
        tables[line["table"]].append(line["row"])
    turns = {row["writer"]: row["n"] for row in tables["counters"]}
    assert len(turns) == WRITERS + 1, "counters are missing"

    balances = Counter({row["id"]: OPENING for row in tables["accounts"]})
    for row in tables["entries"]:
        balances[row["account"]] += row["amount"]
        _check_not_newer(row["seq"], turns)
    assert {row["id"]: row["balance"] for row in tables["accounts"]} == balances, (
        "balances are not the entries'"
    )
    counted = sum(row["entries"] for row in tables["counters"])
    assert len(tables["entries"]) == counted, f"{len(tables['entries'])} entries, but {counted} were counted"

    sides: dict[str, dict[str, int]] = {"left": {}, "right": {}}
    for row in tables["documents"]:
        side, _, name = row["id"].partition("-")
        sides[side][name] = row["version"]
        _check_not_newer(row["version"], turns)
    assert sides["left"] == sides["right"], "twin documents differ"
    return turns


def _check_not_newer(number: int, turns: dict[str, int]) -> None:
    writer, rest = divmod(number, _WRITER_STEP)
    # Writer 0 was there before all others.
    assert not writer or rest // _TURN_STEP <= turns[str(writer)], "a row is newer than its writer's counter"


@dataclass
class _Transaction:
    """The changes of one transaction."""

    connection: sqlite3.Connection
    writer: int
    turn: int
    generator: random.Random
    entries: int = 0
    """Entries added, less those removed."""

    def change_something(self) -> None:
        self.generator.choice((self.transfer, self.transfer, self.undo, self.rewrite, self.rename))()

    def transfer(self) -> None:
        """Move money between two accounts, with an entry for each."""
        generator = self.generator
        number = self._number(self.entries)
        amount, memo = generator.randint(1, 99), _value(generator)
        first, second = generator.sample(range(_ACCOUNTS), 2)
        for account, change in ((first, -amount), (second, amount)):
            self._execute("INSERT INTO entries VALUES (?, ?, ?, ?)", account, number, change, memo)
            share = generator.choice((0.1 + 0.2, -0.0, 1e300, None, float("inf"), 3))
            self._execute(
                "UPDATE accounts SET balance = balance + ?, share = ? WHERE id = ?", change, share, account
            )
        self.entries += 2

    def undo(self) -> None:
        """Remove some entries, and take their amounts back."""
        start = self.generator.randrange(_ACCOUNTS)
        found = self._execute("SELECT account, seq, amount FROM entries WHERE account >= ? LIMIT 3", start)
        for account, number, amount in found.fetchall():
            self._execute("DELETE FROM entries WHERE account = ? AND seq = ?", account, number)
            self._execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", amount, account)
            self.entries -= 1

    def rewrite(self) -> None:
        """Replace both twins of a document."""
        self.write_twins(self._name())

    def rename(self) -> None:
        """Give both twins of a document another key, which may be that of others."""
        old, new = self._name(), f"{self.generator.randrange(10**6):06}"
        for side in ("left", "right"):
            self._execute(
                "UPDATE OR REPLACE documents SET id = ? WHERE id = ?", f"{side}-{new}", f"{side}-{old}"
            )

    def write_twins(self, name: str) -> None:
        """Write a document twice; the twins share name and version."""
        for side in ("left", "right"):
            self._execute(
                "REPLACE INTO documents (id, version, body) VALUES (?, ?, ?)",
                f"{side}-{name}",
                self._number(0),
                _value(self.generator),
            )

    def _name(self) -> str:
        start = f"left-{self.generator.randrange(10**6):06}"
        found = self._execute("SELECT id FROM documents WHERE id >= ? ORDER BY id LIMIT 1", start).fetchone()
        return found[0].partition("-")[2]

    def _number(self, step: int) -> int:
        return self.writer * _WRITER_STEP + self.turn * _TURN_STEP + step

    def _execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self.connection.execute(sql, values)


def _value(generator: random.Random) -> Any:
    """A value of any class that SQLite has."""
    return generator.choice(
        (
            None,
            generator.randint(-(2**63), 2**63 - 1),
            generator.uniform(-1e9, 1e9),
            float("-inf"),
            1.0,
            1,
            "",
            f"naïve \U0001f600 {generator.random()}",
            "x" * generator.randrange(400),
            generator.randbytes(generator.randrange(60)),
        )
    )

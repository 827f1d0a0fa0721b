"""One database with everything that follows it: a poller, nodes fed through Kafka, an embedded node."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from consumers import Cache, Position
from tests.support import bank
from tests.support.commands import DONE, USAGE, Running, cdc
from tests.support.conditions import wait_until
from tests.support.rows import Tables, assert_same_rows, dumped_rows, source_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KAFKA_NODES = ("node-a", "node-b")
EMBEDDED = "embedded"
NODES = (*KAFKA_NODES, EMBEDDED)
POLLER = "poller"


class Deployment:
    """The parts by name; use as ``with``, which kills what still runs.

    Args:
        folder: for cache files and logs.
        source: the database file.
        bootstrap: of the broker.
        topic: of this database.
        keys: the database's tables, and the columns of each one's key.
        config: what every command needs to know beyond these.
    """

    def __init__(
        self,
        folder: Path,
        source: Path,
        bootstrap: str,
        topic: str,
        *,
        keys: Mapping[str, Sequence[str]] = bank.KEYS,
        config: Path | None = None,
    ) -> None:
        self.folder = folder
        self.source = source
        self._keys = keys
        self._config: tuple[str | Path, ...] = () if config is None else ("--config", config)
        self._kafka = ("--bootstrap-servers", bootstrap, "--topic", topic)
        self.topic = topic
        self.parts: dict[str, Running] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start(self, *names: str) -> None:
        """Start parts, again or for the first time; a name that begins with ``poller`` is one."""
        for name in names:
            self.parts[name] = self._exits.enter_context(Running(self.folder, *self.arguments(name)))

    def start_after_snapshot(self, poller: str, *nodes: str) -> None:
        """Start a poller, and then nodes that have not to wait for its first snapshot."""
        self.start(poller)
        self.parts[poller].wait_for("published a snapshot")
        self.start(*nodes)
        self.wait_for_load(nodes)

    def arguments(self, name: str) -> tuple[str | Path, ...]:
        """What follows `cdc` for a part."""
        if name.startswith(POLLER):
            return ("poll", "--source", self.source, *self._kafka, *self._config)
        if name == EMBEDDED:
            where = ("--source", self.source, "--cache", self.cache(name), "--node", name)
            return ("run", *where, *self._config)
        where = ("--cache", self.cache(name), "--node", f"{self.topic}.{name}")
        return ("consume", *where, *self._kafka, *self._config)

    def cache(self, node: str) -> Path:
        """The cache file of a node."""
        return self.folder / f"{node}.redb"

    def check_alive(self) -> None:
        """Fail when a part has ended by itself."""
        for part in self.parts.values():
            part.check_alive()

    def stop(self) -> None:
        """End every part by SIGTERM; each must end in good order."""
        for part in self.parts.values():
            part.stop()
        self.parts.clear()

    def dump(self, node: str) -> list[Any] | None:
        """What a node shows now; None before its first load."""
        finished = cdc("dump", "--cache", self.cache(node), code=(DONE, USAGE))
        return finished.json_lines if finished.code == DONE else None

    def wait_for_load(self, nodes: Sequence[str], limit_s: float = 60.0) -> None:
        """Return when each of the nodes has something to show."""
        for node in nodes:
            wait_until(lambda node=node: self._loaded(node), limit_s, f"{node} has loaded")

    def wait_until_level(self, nodes: Sequence[str] = NODES, limit_s: float = 60.0) -> None:
        """Return when the nodes stand at the source's position, which must not move any more."""
        self.wait_for_load(nodes, limit_s)
        source = self.source_position(nodes[0])
        for node in nodes:
            wait_until(lambda node=node: self.position(node) == source, limit_s, f"{node} is at {source}")

    def position(self, node: str) -> Position | None:
        """Where a node stands now, asked as an application would."""
        self.check_alive()
        with Cache.open(self.cache(node)) as cache:
            return cache.position

    def source_position(self, node: str) -> Position:
        """Where the source's log ends; the node must have loaded."""
        return Position(**self.status(node)["source"]["position"])

    def _loaded(self, node: str) -> bool:
        self.check_alive()
        return self.cache(node).exists()

    def status(self, node: str) -> Any:
        """A node's status, with the source's position."""
        return cdc("status", "--json", "--source", self.source, "--cache", self.cache(node)).json

    def source_rows(self) -> Tables:
        """Every row of the database."""
        return source_rows(self.source, self._keys)

    def assert_equal(self, nodes: Sequence[str] = NODES) -> None:
        """Every node is equal to the database: by `cdc verify`, and by an own comparison of every value."""
        expected = self.source_rows()
        for node in nodes:
            where = (*self._config, "--source", self.source, "--cache", self.cache(node))
            report = cdc("verify", "--json", *where).json
            assert report["equal"], report
            assert all(table["pending"] == 0 for table in report["tables"].values()), report
            lines = cdc("dump", "--cache", self.cache(node)).json_lines
            assert_same_rows(dumped_rows(lines), expected, node)

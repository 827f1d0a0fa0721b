"""What a deployment is configured to do: the content of ``cdc.toml``, checked.

Times are seconds, sizes bytes, whatever the file wrote them in. `cdc.config_file` reads them.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from cdc.table_settings import TableSettings
from schemas.codec import Encoding  # noqa: TC001 -- msgspec reads the annotations at run time
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.http.address import Address
    from cdc.secret import Secret

FILE_SCHEME = "file:"
FILE_SCHEMES = (FILE_SCHEME, "turso:")
"""What a source's URL begins with when it is a file, read by SQLite or by the Turso engine."""


class SourceConfig(msgspec.Struct, frozen=True):
    """``[source]``: the database to read.

    Attributes:
        url: as given; show it only through `cdc.secret.redact_url`.
        hash_key: what columns are hashed with.
        tables: the tables to capture; None for every ordinary table.
        poll_interval_s: the longest pause of an idle poller.
        log_retention_s: how long change-log rows are kept for readers that were away.
    """

    url: str
    auth_token: Secret | None = None
    tables: tuple[str, ...] | None = None
    poll_interval_s: float = 0.05
    log_retention_s: float = 86_400.0
    hash_key: Secret | None = None

    @property
    def path(self) -> Path | None:
        """The database file: what follows ``file:`` or ``turso:``, taken literally, or a bare path."""
        if "://" in self.url and not is_file_url(self.url):
            return None
        scheme, _, path = self.url.partition(":")
        return Path(path if f"{scheme.lower()}:" in FILE_SCHEMES else self.url)


class KafkaConfig(msgspec.Struct, frozen=True):
    """``[kafka]``: the broker and the topic between poller and nodes.

    Attributes:
        encoding: how the poller writes events; readers recognise each record's by itself.
        properties: Java client properties by their dotted names, as text.
    """

    bootstrap_servers: str
    topic: str
    encoding: Encoding = "msgpack"
    properties: dict[str, str | Secret] = {}

    def reveal_properties(self) -> dict[str, str]:
        """Return the properties with their secrets read, as `schemas.kafka_properties` takes them.

        Raises:
            UsageError: a secret cannot be read.
        """
        return {
            name: value if isinstance(value, str) else value.reveal()
            for name, value in self.properties.items()
        }


class HttpConfig(msgspec.Struct, frozen=True):
    """``[http]``: health, metrics, status and reads.

    Attributes:
        listen: where; None: nowhere. Others than this machine may reach it only where there is a token.
        auth_token: what has to be given as ``Authorization: Bearer``.
    """

    listen: Address | None = None
    auth_token: Secret | None = None


class CacheConfig(msgspec.Struct, frozen=True):
    """``[cache]``: the redb file of this node.

    Attributes:
        node: the node's name, also its Kafka ``group.id``.
        max_staleness_s: older than this, the node reports itself not ready.
        readers: whether other processes may read the file while it is written.
        check: when the whole file's integrity is checked before it is used.
        verify_every_s: how often a running node has it compared with the source; None: never.
        commit_rows: rows gathered for one commit at most, from the preset; None: as many as are waiting.
    """

    path: Path = Path("cache.redb")
    node: str = ""
    max_staleness_s: float = 30.0
    readers: Literal["shared", "process"] = "shared"
    check: Literal["open", "unclean", "never"] = "open"
    verify_every_s: float | None = None
    commit_rows: int | None = None


class TableConfig(msgspec.Struct, frozen=True):
    """``[tables.NAME]``: what of one table is published.

    Attributes:
        key_columns: the identity of a table that has no primary key.
        settings: what of its rows is published, and what nodes do with them.
    """

    key_columns: tuple[str, ...] | None = None
    settings: TableSettings = TableSettings()


class Config(msgspec.Struct, frozen=True):
    """Everything that was configured.

    Attributes:
        source: None on a node that has no access to the source.
        kafka: None for the embedded default.
        tables: settings by table name.
        optional: tables of a preset, which the source need not have.
        file: the file it was read from; None where flags were enough.
    """

    cache: CacheConfig
    source: SourceConfig | None = None
    kafka: KafkaConfig | None = None
    tables: dict[str, TableConfig] = {}
    optional: frozenset[str] = frozenset()
    file: Path | None = None
    http: HttpConfig = HttpConfig()

    def need_source(self) -> SourceConfig:
        """Return the source's configuration.

        Raises:
            UsageError: there is none.
        """
        if self.source is None:
            raise UsageError("no source is configured", "give --source URL, or source.url in cdc.toml")
        return self.source

    def need_kafka(self) -> KafkaConfig:
        """Return Kafka's configuration.

        Raises:
            UsageError: there is none.
        """
        if self.kafka is None:
            raise UsageError(
                "no Kafka is configured",
                "give --bootstrap-servers and --topic, or [kafka] in cdc.toml; without a broker use: cdc run",
            )
        return self.kafka


def is_file_url(url: str) -> bool:
    """Whether a source's URL is ``file:PATH``; a bare path is none."""
    return url[: len(FILE_SCHEME)].lower() == FILE_SCHEME


def default_node(cache_path: Path) -> str:
    """Return the name of a node that was given none: the host's, and a hash of its cache's absolute path."""
    path = str(cache_path.absolute()).encode(errors="surrogateescape")
    return f"{socket.gethostname()}-{hashlib.sha256(path).hexdigest()[:8]}"

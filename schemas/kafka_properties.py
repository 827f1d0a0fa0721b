"""Kafka client properties: Java's dotted names in, arguments of aiokafka's clients out.

Both sides connect to Kafka, so the names that a ``[kafka]`` table may hold live here. Names follow Kafka's
documentation of producer, consumer and admin configurations; for TLS files librdkafka's names are read too,
since people who keep their keys in PEM files have those in hand. Values are never put in an error line.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from schemas.errors import UsageError
from schemas.kafka_security import SASL_NAMES, TLS_NAMES, Tls, read_sasl, read_tls, ssl_context
from schemas.kafka_values import Reader, boolean, number, one_of, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EVERY_CLIENT = ("producer", "consumer", "admin")
_PRODUCER = ("producer",)
_CONSUMER = ("consumer",)


class KafkaClients(Struct, frozen=True):
    """How each client reaches Kafka, and what a ``[kafka]`` table asks of it; made by `kafka_clients`.

    It holds credentials, so its repr shows nothing of them. The three methods read the PEM files of a TLS
    connection; they raise UsageError when a file is missing or is not PEM.
    """

    arguments: dict[str, dict[str, Any]]
    tls: Tls | None = None

    def __repr__(self) -> str:
        return "KafkaClients(...)"

    def producer(self) -> dict[str, Any]:
        """Keyword arguments for AIOKafkaProducer."""
        return self._with_tls("producer")

    def consumer(self) -> dict[str, Any]:
        """Keyword arguments for AIOKafkaConsumer."""
        return self._with_tls("consumer")

    def admin(self) -> dict[str, Any]:
        """Keyword arguments for AIOKafkaAdminClient."""
        return self._with_tls("admin")

    def _with_tls(self, client: str) -> dict[str, Any]:
        arguments = dict(self.arguments[client])
        if self.tls is not None:
            arguments["ssl_context"] = ssl_context(self.tls)
        return arguments


class _Property(Struct, frozen=True):
    argument: str
    clients: tuple[str, ...]
    read: Callable[[str, object], Any]


class _Decided(Struct, frozen=True):
    """A property that this program sets itself: the values that agree with it, and why there is no choice."""

    agreeing: tuple[str, ...]
    reason: str


_PROPERTIES: dict[str, _Property] = {
    "client.id": _Property("client_id", _EVERY_CLIENT, text),
    "request.timeout.ms": _Property("request_timeout_ms", _EVERY_CLIENT, number(1, "milliseconds")),
    "retry.backoff.ms": _Property("retry_backoff_ms", _EVERY_CLIENT, number(0, "milliseconds")),
    "metadata.max.age.ms": _Property("metadata_max_age_ms", _EVERY_CLIENT, number(1, "milliseconds")),
    "connections.max.idle.ms": _Property("connections_max_idle_ms", _EVERY_CLIENT, number(1, "milliseconds")),
    "compression.type": _Property(
        "compression_type",
        _PRODUCER,
        one_of({"none": None} | {c: c for c in ("gzip", "snappy", "lz4", "zstd")}),
    ),
    "linger.ms": _Property("linger_ms", _PRODUCER, number(0, "milliseconds")),
    "batch.size": _Property("max_batch_size", _PRODUCER, number(1, "bytes")),
    "max.request.size": _Property("max_request_size", _PRODUCER, number(1, "bytes")),
    "fetch.min.bytes": _Property("fetch_min_bytes", _CONSUMER, number(1, "bytes")),
    "fetch.max.bytes": _Property("fetch_max_bytes", _CONSUMER, number(1, "bytes")),
    "fetch.max.wait.ms": _Property("fetch_max_wait_ms", _CONSUMER, number(0, "milliseconds")),
    "max.partition.fetch.bytes": _Property("max_partition_fetch_bytes", _CONSUMER, number(1, "bytes")),
    "max.poll.records": _Property("max_poll_records", _CONSUMER, number(1, "records")),
    "check.crcs": _Property("check_crcs", _CONSUMER, boolean),
    "client.rack": _Property("client_rack", _CONSUMER, text),
}

_NO_GROUP_MEMBER = "a node reads the topic's one partition itself, as no member of a group"

_DECIDED: dict[str, _Decided] = {
    "bootstrap.servers": _Decided((), "it is given as kafka.bootstrap_servers"),
    "group.id": _Decided((), "it is given as cache.node"),
    "acks": _Decided(("all", "-1"), "a change counts once every in-sync replica has it"),
    "enable.idempotence": _Decided(("true",), "without it a retried batch can land twice, or out of order"),
    "transactional.id": _Decided(
        (), "transaction markers take offsets, and offsets decide which records count"
    ),
    "isolation.level": _Decided(("read_uncommitted", "read_committed"), "the topic holds no transactions"),
    "enable.auto.commit": _Decided(("false",), "the position is committed after the cache is durable"),
    "auto.offset.reset": _Decided(("none",), "a missing offset leads to a snapshot, never to a silent jump"),
    "group.instance.id": _Decided((), _NO_GROUP_MEMBER),
    "session.timeout.ms": _Decided((), _NO_GROUP_MEMBER),
    "heartbeat.interval.ms": _Decided((), _NO_GROUP_MEMBER),
    "max.poll.interval.ms": _Decided((), _NO_GROUP_MEMBER),
    "partition.assignment.strategy": _Decided((), _NO_GROUP_MEMBER),
}

_KNOWN = tuple(sorted({*_PROPERTIES, *SASL_NAMES, *TLS_NAMES, "security.protocol"}))
_NEAREST_MAX = 3


def kafka_clients(bootstrap_servers: str, properties: Mapping[str, object]) -> KafkaClients:
    """Check the properties of a ``[kafka]`` table and sort them by the client they are for.

    Args:
        bootstrap_servers: HOST:PORT, or several of them with commas between.
        properties: dotted Java names to values, secrets already resolved. Values may be typed (``5``) or text
            (``"5"``), as in a Java properties file.

    Raises:
        UsageError: a name is unknown, a value is not allowed, or two of them contradict each other. Its
            message starts with the key path, ``kafka.NAME``, and holds no value.

    """
    arguments: dict[str, dict[str, Any]] = {
        client: {"bootstrap_servers": bootstrap_servers} for client in _EVERY_CLIENT
    }
    for name, value in properties.items():
        if (known := _PROPERTIES.get(name)) is not None:
            read = known.read(name, value)
            for client in known.clients:
                arguments[client][known.argument] = read
        elif (decided := _DECIDED.get(name)) is not None:
            _check_agrees(name, value, decided)
        elif name not in _KNOWN:
            raise _unknown(name)
    values = Reader(properties)
    sasl = read_sasl(values)
    for client in _EVERY_CLIENT:
        arguments[client].update(sasl)
    return KafkaClients(arguments, read_tls(values))


def _check_agrees(name: str, value: object, decided: _Decided) -> None:
    if str(value).lower() in decided.agreeing:
        return
    allowed = " or ".join(f'"{value}"' for value in decided.agreeing)
    rule = f"can only be {allowed}" if allowed else "cannot be set"
    raise UsageError(f"kafka.{name}: {rule}: {decided.reason}", "leave it out")


def _unknown(name: str) -> UsageError:
    nearest = difflib.get_close_matches(name, _KNOWN, n=_NEAREST_MAX, cutoff=0.5)
    if nearest:
        remedy = "did you mean " + " or ".join(f"kafka.{known}" for known in nearest) + "?"
    else:
        remedy = "allowed are: " + ", ".join(_KNOWN)
    return UsageError(f"kafka.{name}: not a property that this program knows", remedy)

"""From the configuration to the parts that commands run."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from cdc import embedded
from cdc.capture import Capture
from cdc.hash_key import HashKey
from cdc.kafka.polling import Pipeline
from cdc.source.file import check_is_file
from schemas.kafka_properties import KafkaClients, kafka_clients
from schemas.topics import Topics

if TYPE_CHECKING:
    from cdc.config import Config
    from consumers.source_access import SourceAccess
    from schemas.position import Position


def open_capture(config: Config, *, strict: bool = True) -> Capture:
    """The source's capture, not opened yet.

    Args:
        config: the whole of it.
        strict: a listed table that is not there is refused, as where a command begins to work.

    Raises:
        UsageError: no source is configured.
    """
    source = config.need_source()
    keys = {name: table.key_columns for name, table in config.tables.items() if table.key_columns is not None}
    settings = {name: table.settings for name, table in config.tables.items()}
    # A file asks for none: its environment need not hold what another source's does.
    token = None if source.auth_token is None or source.path is not None else source.auth_token.reveal()
    hashed = source.hash_key is not None and any(value.hash for value in settings.values())
    return Capture(
        source.url,
        tables=source.tables,
        key_columns=keys,
        settings=settings,
        optional=config.optional,
        hash_key=HashKey(source.hash_key.reveal()) if hashed and source.hash_key is not None else None,
        auth_token=token,
        strict=strict,
    )


def check_source_file(config: Config) -> None:
    """Refuse a source that is no file, where it should be one, before anything is made for it.

    Raises:
        UsageError: no source is configured, or no database is at its path.
    """
    path = config.need_source().path
    if path is not None:
        check_is_file(os.path.abspath(path))  # noqa: PTH100 -- as the drivers name it


def kafka_parts(config: Config) -> tuple[KafkaClients, Topics]:
    """How to reach Kafka, and the topics of this database.

    Raises:
        UsageError: no Kafka is configured, or a property is not allowed.
    """
    kafka = config.need_kafka()
    return kafka_clients(kafka.bootstrap_servers, kafka.reveal_properties()), Topics(kafka.topic)


def source_access(config: Config) -> SourceAccess | None:
    """The source of a node that Kafka feeds; None where it has no access to it."""
    return None if config.source is None else embedded.NodeSource(partial(open_capture, config))


def pipeline(config: Config) -> Pipeline:
    """What a poller needs.

    Raises:
        UsageError: no source or no Kafka is configured.
    """
    clients, topics = kafka_parts(config)
    source, encoding = config.need_source(), config.need_kafka().encoding
    capture = partial(open_capture, config)
    return Pipeline(capture, clients, topics, source.poll_interval_s, encoding, source.log_retention_s)


def position_document(position: Position) -> dict[str, int]:
    """A position as JSON documents show it."""
    return {"epoch": position.epoch, "change_id": position.change_id}

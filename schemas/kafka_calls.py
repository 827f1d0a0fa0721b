"""Every call to Kafka: limited in time, its errors turned into ours."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from schemas.errors import KafkaUnavailableError, UsageError
from schemas.kafka_access import missing_right
from schemas.kafka_refusal import reason_since, refusal
from schemas.kafka_rights import Right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST_SECONDS_MAX = 10.0
"""The longest wait for one answer of a broker: several of aiokafka's own calls may wait for ever."""

request_seconds = ContextVar("request_seconds", default=REQUEST_SECONDS_MAX)
"""The same, for this command: a one-shot command that is to give up earlier waits no longer than that."""

_CLOSED_TRANSPORT = "the handler is closed"
"""uvloop's RuntimeError for a write to a connection just lost, where aiokafka 0.14 expects an OSError."""


class TopicGoneError(KafkaUnavailableError):
    """The topic does not exist, or not any more."""


@asynccontextmanager
async def kafka_errors(doing: str, seconds: float | None = None) -> AsyncIterator[None]:
    """Bounds a call to Kafka in time (``request_seconds`` unless given), and turns its errors into ours."""
    seconds = request_seconds.get() if seconds is None else seconds
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            yield
    except UnknownTopicOrPartitionError as error:
        raise TopicGoneError(f"{doing}: there is no such topic", "run: cdc poll") from error
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
        kind = "group" if isinstance(error, GroupAuthorizationFailedError) else "topic"
        right = Right.READ if kind == "group" else _RIGHTS.get(doing.partition(" ")[0], Right.DESCRIBE)
        raise missing_right((right,), f"{kind} {_named(error)}") from error
    except ClusterAuthorizationFailedError as error:
        raise missing_right((Right.WRITE,), "the topics (or IdempotentWrite the cluster)") from error
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise UsageError(
            f"{doing}: the broker refuses records of this size",
            "set the topic's max.message.bytes to 1048588 or more, or lower kafka batch.size",
        ) from error
    except TimeoutError as error:
        raise KafkaUnavailableError(
            f"{doing}: no answer from Kafka within {seconds:g} s", "check that the broker runs"
        ) from error
    except (KafkaError, OSError, RuntimeError) as error:
        # A KafkaError is a RuntimeError, too.
        if not isinstance(error, (KafkaError, OSError)) and _CLOSED_TRANSPORT not in str(error):
            raise
        cause = reason_since(began_s)
        if (refused := refusal(doing, cause)) is not None:
            raise refused from error
        reason = str(error if cause is None else cause) or type(error).__name__
        raise KafkaUnavailableError(f"{doing}: {reason}", "check bootstrap_servers and the broker") from error


_RIGHTS = {
    "writing": Right.WRITE,
    "reading": Right.READ,
    "watching": Right.READ,
    "creating": Right.CREATE,
    "deleting": Right.DELETE,
}
"""The right that is needed for what `kafka_errors` is told we are doing, by its first word."""


def _named(error: KafkaError) -> str:
    """The topic or group that aiokafka's error speaks of."""
    named = error.args[0] if error.args else ""
    return ", ".join(map(str, named)) if isinstance(named, (set, frozenset, list, tuple)) else str(named)

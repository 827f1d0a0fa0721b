"""The few places where simulated parts take the place of real ones in the shipped modules."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import cdc.capture.encode
import cdc.capture.limits
import cdc.capture.log
import cdc.capture.moments
import cdc.capture.piecewise
import cdc.capture.prune
import cdc.capture.queries
import cdc.capture.reader
import cdc.embedded
import cdc.kafka.admin
import cdc.kafka.cleanup
import cdc.kafka.group_records
import cdc.kafka.polling
import cdc.kafka.publication
import cdc.kafka.snapshots
import cdc.kafka.standby
import cdc.limits
import cdc.poller
import cdc.upkeep
import consumers.bootstrap
import consumers.following
import consumers.limits
import consumers.live
import consumers.node
import consumers.orders
import consumers.rebuild
import consumers.store
import consumers.subscription
import consumers.telling
import consumers.wayfinder
import consumers.writer
import schemas.kafka_admin
import schemas.kafka_calls
import schemas.kafka_clients
import schemas.kafka_refusal
import schemas.parts
import schemas.progress
import schemas.retrying
import schemas.topics
from schemas.rows import RowEncoder
from tests.simulation.bounds import Limit
from tests.simulation.kafka import SimAdmin, SimConsumer, SimProducer
from tests.simulation.leases import LEASE_SECONDS
from tests.simulation.loop import PROCESS
from tests.simulation.redb import SimLock, SimRedb

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Random:
    """Stands for `secrets` and `random`: the world's seed decides."""

    def __getattr__(self, name: str) -> Any:
        return getattr(PROCESS.get().world.rng, name)  # type: ignore[attr-defined]

    def randbits(self, bits: int) -> int:
        return self.getrandbits(bits)

    def token_hex(self, size: int) -> str:
        return self.randbytes(size).hex()


class _Time:
    """Stands for `time`: the loop's."""

    def monotonic(self) -> float:
        return PROCESS.get().loop.now

    time = monotonic

    def time_ns(self) -> int:
        return int(self.monotonic() * 1e9)


class _Log:
    """Stands for a logger: lines go into the world's trace."""

    def __getattr__(self, level: str) -> Any:
        def write(event: str, **values: Any) -> None:
            with contextlib.suppress(LookupError):
                PROCESS.get().world.log(level, event, values)  # type: ignore[attr-defined]

        return write


_RANDOM, _TIME, _LOG = _Random(), _Time(), _Log()

_LOGGERS = (
    cdc.poller,
    cdc.embedded,
    cdc.kafka.admin,
    cdc.kafka.cleanup,
    cdc.kafka.group_records,
    cdc.kafka.polling,
    cdc.kafka.publication,
    cdc.kafka.standby,
    cdc.upkeep,
    consumers.bootstrap,
    consumers.following,
    consumers.node,
    consumers.rebuild,
    consumers.subscription,
    consumers.wayfinder,
    consumers.writer,
)

_CLOCKS = (
    cdc.capture.moments,
    cdc.capture.piecewise,
    cdc.capture.prune,
    cdc.capture.reader,
    cdc.embedded,
    cdc.kafka.polling,
    cdc.kafka.standby,
    cdc.upkeep,
    consumers.following,
    consumers.live,
    consumers.orders,
    consumers.store,
    consumers.telling,
    consumers.writer,
    schemas.kafka_refusal,
    schemas.progress,
    schemas.retrying,
    schemas.kafka_calls,
)

# Small, so that a handful of rows meets every limit.
_LIMITS: list[tuple[Any, dict[str, Any]]] = [
    (
        cdc.limits,
        {
            "HEARTBEAT_SECONDS": 1.0,
            "SNAPSHOT_LOOK_SECONDS": 5.0,
            "STANDBY_SILENCE_SECONDS": 3.0,
            "IN_FLIGHT_BATCHES_MAX": 3,
            "RECORD_BYTES_MAX": 400,
            "CHUNK_BYTES": 150,
            "ACK_SECONDS_MAX": 5.0,
            "CHAIN_WINDOW_RECORDS": 4,
            "CHAIN_WINDOW_RECORDS_MAX": 16,
        },
    ),
    (
        cdc.capture.limits,
        {
            "UPKEEP_SECONDS": 0.5,
            "LEASE_IDLE_SECONDS": 1.0,
            "LEASE_SECONDS_MAX": LEASE_SECONDS,
            "HEARTBEAT_ROW_SECONDS": 2.0,
            "PRUNE_SECONDS": 1.0,
            "PRUNE_ROWS_MAX": 3,
            "PRUNE_BATCHES_MAX": 4,
            "PIECE_ROWS_FIRST": 2,
            "PIECE_ROWS_MAX": 3,
            "SURVEY_ROWS": 4,
        },
    ),
    (
        consumers.limits,
        {
            "COMMIT_ROWS_MAX": 4,
            "STREAM_ROWS_MAX": 3,
            "IDLE_COMMIT_SECONDS": 1.0,
            "FETCH_WAIT_MS": 1000,
            "WATCHDOG_SECONDS": 4.0,
            "MANIFEST_WAIT_SECONDS": 2.0,
        },
    ),
    (schemas.parts, {"ROW_BYTES_MAX": 1500}),
    (schemas.topics, {"STALL_SECONDS_MAX": 8.0}),
    (schemas.retrying, {"BACKOFF_SECONDS_MAX": 2.0, "PAUSE_SECONDS_MIN": 0.1}),
    (cdc.kafka.standby, {"BACKOFF_SECONDS_MAX": 2.0}),
]


@contextmanager
def simulated() -> Iterator[None]:
    """Puts the simulated parts in place."""
    with contextlib.ExitStack() as stack:

        def put(module: Any, **values: Any) -> None:
            stack.enter_context(mock.patch.multiple(module, **values))

        put(cdc.kafka.admin, AIOKafkaAdminClient=SimAdmin)
        put(schemas.kafka_admin, AIOKafkaAdminClient=SimAdmin)
        # Nobody is kept from anything: there is no authorizer.
        for module in (cdc.kafka.admin, schemas.topics):
            put(module, require_topic_rights=lambda client, needs: client.topic_ids(needs))
        put(consumers.subscription, group_rights=_nothing_missing)
        put(cdc.kafka.publication, AIOKafkaProducer=SimProducer, secrets=_RANDOM)
        put(cdc.kafka.snapshots, secrets=_RANDOM)
        put(cdc.kafka.standby, random=_RANDOM)
        put(cdc.capture.log, secrets=_RANDOM)
        # Making one costs as much as encoding dozens of rows; the same columns make the same encoder.
        put(cdc.capture.queries, select_all=_select_all, select_touched=_select_touched)
        # Queries of bounded tables are answered as the data that they are.
        put(cdc.capture.reader, rows_of=lambda query: (query, ()), limit_of=lambda table: (Limit(table), ()))
        put(cdc.capture.encode, RowEncoder=lambda columns: _encoder(tuple(columns)))
        put(schemas.topics, AIOKafkaConsumer=SimConsumer)
        put(
            schemas.kafka_clients,
            AIOKafkaConsumer=SimConsumer,
            AIOKafkaProducer=SimProducer,
            AIOKafkaAdminClient=SimAdmin,
        )
        # All that is shipped and asks for the time: a real clock would keep seeds from replaying.
        for module in _CLOCKS:
            put(module, time=_TIME)
        put(schemas.retrying, random=_RANDOM)
        put(consumers.subscription, AIOKafkaConsumer=SimConsumer)
        put(consumers.store, _redb=SimRedb())
        put(consumers.rebuild, secrets=_RANDOM, _sync_folder=lambda _: None)
        put(consumers.writer, NodeLock=SimLock)
        for module in _LOGGERS:
            put(module, _log=_LOG)
        for module, values in _LIMITS:
            put(module, **values)
        # Coroutines of killed processes complain when they are dropped, and nobody needs to hear it.
        stack.enter_context(mock.patch.object(sys, "unraisablehook", _hear_nothing))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        stack.callback(gc.collect)
        yield


def _hear_nothing(_: object) -> None:
    """Keeps nothing of what it is told, as a mock would."""


async def _nothing_missing(*_: object) -> None:
    """Stands for questions about rights."""


_encoder = functools.cache(RowEncoder)
_select_all = functools.cache(cdc.capture.queries.select_all)
_select_touched = functools.cache(cdc.capture.queries.select_touched)

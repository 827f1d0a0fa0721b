"""The life of a poller at a topic: working, standing by while another works, coming back after failures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from cdc import limits
from cdc.kafka.publication import KafkaPublication
from cdc.kafka.sender import DisplacedError
from cdc.kafka.standby import Patience, stand_by
from cdc.poller import Done, Polled, Poller
from cdc.upkeep import Upkeep, leave_lease
from schemas.errors import CdcError, GaveUpError, KafkaUnavailableError, SourceUnavailableError, may_heal
from schemas.kafka_calls import REQUEST_SECONDS_MAX, request_seconds
from schemas.retrying import Backoff, IdlePace, pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cdc.capture import Capture
    from cdc.kafka.snapshots import Written
    from schemas.codec import Encoding
    from schemas.event import Head
    from schemas.kafka_properties import KafkaClients
    from schemas.topics import Topics

_log = structlog.get_logger("cdc.poller")

_Result = TypeVar("_Result")


@dataclass
class Progress:
    """What a poller did, for its health and metrics.

    ``level_at`` is the monotonic second of the last look after which nothing was left to publish.
    """

    events: int = 0
    rows: int = 0
    groups: int = 0
    errors: int = 0
    head: Head | None = None
    level_at: float | None = None
    standing_by: bool = False
    trouble: str | None = None

    def looked(self, at: float, head: Head | None, polled: Polled | None) -> None:
        """Everything that was there at ``at`` is published."""
        self.level_at, self.head, self.trouble = at, head, None
        if polled is not None and not polled.idle:
            self.events += polled.events
            self.rows += polled.rows
            self.groups += 1

    def stumbled(self, reason: str) -> None:
        """Something went wrong; it is tried again."""
        self.errors += 1
        self.trouble = reason


@dataclass(frozen=True)
class Pipeline:
    """What a poller needs: how to open its source, and where in Kafka it publishes."""

    open_capture: Callable[[], Capture]
    clients: KafkaClients
    topics: Topics
    pause_seconds: float
    encoding: Encoding = "msgpack"
    retention_seconds: float = 86_400.0
    adopt: bool = False
    progress: Progress = field(default_factory=Progress)

    def publication(self, capture: Capture) -> KafkaPublication:
        """A new life at the topic, for an open source."""
        url = capture.client.url
        return KafkaPublication(self.clients, self.topics, url, self.encoding, adopt=self.adopt)


async def poll_once(pipeline: Pipeline, stop: asyncio.Event, timeout_seconds: float) -> Polled:
    """Publishes everything that was committed at the start; returns when Kafka has acknowledged it.

    Another poller may do the work meanwhile: what counts is that it is done.

    Raises:
        GaveUpError: the source or Kafka was not reached within the timeout.
        CancelledError: told to stop before that.
    """
    tried: Head | None = None
    done = Done()

    async def work(capture: Capture, publication: KafkaPublication) -> Polled:
        nonlocal tried
        if tried is not None and publication.covers(tried):
            return done.at(tried)
        try:
            polled = await (await _begin(capture, publication)).settle(done, _due(publication))
        finally:
            tried = publication.tried
        # What was acknowledged is published if it landed in the topic that it was meant for.
        await publication.look_at_topic()
        await leave_lease(capture.client, publication.log_reader, polled.head)
        renewed = await _renew_once(capture, publication)
        if renewed or not polled.idle:
            await _leave(publication)
        return polled

    return await _try_until_done(pipeline, stop, timeout_seconds, work)


async def snapshot_once(
    pipeline: Pipeline, stop: asyncio.Event, timeout_seconds: float
) -> tuple[Head, Written]:
    """Publishes everything committed now, and a snapshot of it; beside a running poller or alone.

    Returns where the snapshot stands, and how large it is.

    Raises:
        GaveUpError: the source or Kafka was not reached within the timeout.
        CancelledError: told to stop before that.
    """
    made: tuple[Head, Written] | None = None

    async def work(capture: Capture, publication: KafkaPublication) -> tuple[Head, Written]:
        nonlocal made
        if made is not None and publication.has_snapshot(made[1]):
            return made
        polled = await (await _begin(capture, publication)).settle(Done(), publication)
        if publication.written is None or publication.written_at is None:
            raise RuntimeError("the poll was to publish a snapshot")
        made = publication.written_at, publication.written
        await publication.look_at_topic()
        await leave_lease(capture.client, publication.log_reader, polled.head)
        await _leave(publication)
        await publication.clean_up()
        return made

    return await _try_until_done(pipeline, stop, timeout_seconds, work)


async def _try_until_done(
    pipeline: Pipeline,
    stop: asyncio.Event,
    timeout_seconds: float,
    work: Callable[[Capture, KafkaPublication], Awaitable[_Result]],
) -> _Result:
    backoff = Backoff()
    deadline = time.monotonic() + timeout_seconds
    request_seconds.set(min(REQUEST_SECONDS_MAX, timeout_seconds))
    while True:
        try:
            async with pipeline.open_capture() as capture, pipeline.publication(capture) as publication:
                return await work(capture, publication)
        except DisplacedError as error:
            if time.monotonic() > deadline:
                raise GaveUpError(error.message, "try again, or leave it to the running poller") from error
            _log.info("looking again", topic=pipeline.topics.events, reason=error.message)
        except (KafkaUnavailableError, SourceUnavailableError) as error:
            if time.monotonic() > deadline:
                raise GaveUpError(error.message, error.remedy) from error
            _log.warning("trying again", reason=error.message)
        if stop.is_set():
            raise asyncio.CancelledError
        await pause(stop, backoff.next())


async def _renew_once(capture: Capture, publication: KafkaPublication) -> bool:
    """Publishes a snapshot where one is due; best effort, since what was to be published is."""
    try:
        # Between one-shot polls the topic is silent: its newest record does not tell the time.
        await publication.look_for_snapshot(now_ms=int(time.time() * 1000))
        if due := publication.wants_snapshot:
            await (await _begin(capture, publication)).settle(Done(), publication)
        await publication.clean_up()
    except (DisplacedError, KafkaUnavailableError, SourceUnavailableError) as error:
        head = publication.head()
        if head is None or head.change_id < head.exact_at:
            # The snapshot led the chain on, to between two states: that is not left to anybody.
            raise
        _log.info("left the snapshot to the next poll", reason=error.message)
        return False
    return due


async def _leave(publication: KafkaPublication) -> None:
    """Lets a poller that was displaced take over again at once; best effort, since the work is done."""
    try:
        await publication.say_goodbye()
    except (DisplacedError, KafkaUnavailableError) as error:
        _log.info("left without a goodbye", reason=error.message)


async def poll_forever(pipeline: Pipeline, stop: asyncio.Event) -> None:
    """Publishes until told to stop; never gives up on a source or a broker that is away."""
    backoff = Backoff()
    begun = asyncio.Event()
    patience = Patience()
    writer = 0
    while not stop.is_set():
        try:
            async with pipeline.open_capture() as capture, pipeline.publication(capture) as publication:
                writer = publication.writer
                retention_seconds = pipeline.retention_seconds
                async with Upkeep(capture.client, publication.log_reader, retention_seconds) as upkeep:
                    await _follow(pipeline, capture, publication, stop, begun, upkeep)
        except DisplacedError as error:
            pipeline.progress.standing_by = True
            topic = pipeline.topics.events
            await stand_by(pipeline.clients, topic, stop, writer, patience, error.message)
            pipeline.progress.standing_by = False
        except CdcError as error:
            if not may_heal(error, begun=begun.is_set()):
                raise
            pipeline.progress.stumbled(error.message)
            seconds = backoff.next()
            _log.warning("trying again", reason=error.message, remedy=error.remedy, seconds=round(seconds, 2))
            await pause(stop, seconds)


async def _follow(
    pipeline: Pipeline,
    capture: Capture,
    publication: KafkaPublication,
    stop: asyncio.Event,
    begun: asyncio.Event,
    upkeep: Upkeep,
) -> None:
    publication.beats = True
    began = time.monotonic()
    poller = await _begin(capture, publication)
    polled = await poller.poll(_due(publication))
    pipeline.progress.looked(began, publication.head(), polled)
    begun.set()
    pace = IdlePace(pipeline.pause_seconds)
    heard = time.monotonic()
    looked = heard - publication.looks.seconds
    proved = heard
    while not stop.is_set():
        if time.monotonic() - proved > limits.HEARTBEAT_SECONDS:
            await publication.look_at_topic()
            proved = time.monotonic()
        upkeep.tick(publication.head())
        polled = None
        looked_at = time.monotonic()
        if time.monotonic() - looked >= publication.looks.seconds or publication.looks.sent_much:
            await publication.look_for_snapshot()
            looked = time.monotonic()
        # What follows says that the source is still where the chain stands, or leads on.
        publication.source_is_looked_at()
        if await capture.data_changed() or publication.wants_snapshot or upkeep.wants_a_look():
            polled = await poller.poll(publication if publication.wants_snapshot else None)
        await publication.clean_up()
        pipeline.progress.looked(looked_at, publication.head(), polled)
        now = time.monotonic()
        if polled is not None and not polled.idle:
            heard = now
            pace.active()
            continue
        if now - heard > limits.HEARTBEAT_SECONDS:
            await publication.heartbeat()
            heard = now
        await pause(stop, pace.next())
    await publication.say_goodbye()


async def _begin(capture: Capture, publication: KafkaPublication) -> Poller:
    if not await capture.installed():
        await capture.install()
    # A change between the poll and the first look at the data version must not be missed: look first.
    await capture.data_changed()
    return Poller(capture, publication)


def _due(publication: KafkaPublication) -> KafkaPublication | None:
    """The publication, where a first snapshot of it is due."""
    return publication if publication.needs_snapshot else None

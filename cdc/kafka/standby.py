"""Standing by while another poller works, and taking over when it is gone."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import structlog

from cdc import limits
from cdc.kafka.chain import chain_end
from schemas.errors import KafkaUnavailableError
from schemas.kafka_calls import TopicGoneError
from schemas.retrying import BACKOFF_SECONDS_MAX, pause
from schemas.topics import TopicReader

if TYPE_CHECKING:
    import asyncio

    from cdc.kafka.chain import ChainEnd
    from schemas.event import Head
    from schemas.kafka_properties import KafkaClients

_log = structlog.get_logger("cdc.poller")


class Patience:
    """For how long the topic must be quiet before this poller takes over; pure but for its jitter.

    Two that stand by must not take over, and displace each other, again and again at the same moment. Where
    the first record takes long to come (a long log is looked through before), a little jitter is not enough:
    so the longer one waits, the more often nothing came of it.
    """

    def __init__(self) -> None:
        self._vain = 0
        self._stood: tuple[int | None, Head | None] | None = None
        self._silence = self._goodbye = 0.0
        self._fresh = True

    def stand_by(self) -> None:
        """Begins to stand by, once more."""
        self._silence = random.random()  # noqa: S311 -- jitter, not a secret
        self._goodbye = random.random()  # noqa: S311 -- jitter, not a secret
        self._fresh = True

    def seconds(self, end: ChainEnd) -> float:
        """Says for how long it has to be quiet behind ``end``."""
        if self._fresh:
            # The same group is still the last one that counts: whoever took over since got nothing through.
            self._fresh = False
            stands = (end.writer, end.head)
            self._vain = min(self._vain + 1, limits.STANDBY_DOUBLINGS_MAX) if stands == self._stood else 0
            self._stood = stands
        longer = 2**self._vain
        if end.said_goodbye:
            return limits.STANDBY_LOOK_SECONDS * (0.1 + 0.9 * self._goodbye * longer)
        return limits.STANDBY_SILENCE_SECONDS * (1.0 + 0.5 * self._silence * longer)


async def stand_by(
    clients: KafkaClients, topic: str, stop: asyncio.Event, writer: int, patience: Patience, reason: str
) -> None:
    """Returns when the other poller said goodbye or was silent for too long.

    Returns at once when the last group that counts is our own (``writer``): the loser's void records displace
    the winner too, and if both stood by nobody would work.
    """
    last_end, quiet_since = -1, time.monotonic()
    patience.stand_by()
    warned = False
    while not stop.is_set():
        try:
            async with TopicReader(clients.consumer()) as reader:
                while not stop.is_set():
                    end = await chain_end(reader, topic)
                    if end.writer == writer:
                        _log.info("going on: the other poller's records do not count", reason=reason)
                        return
                    if not warned:
                        _log.warning("standing by", reason=reason)
                        warned = True
                    now = time.monotonic()
                    if end.end_offset != last_end:
                        last_end, quiet_since = end.end_offset, now
                    seconds = patience.seconds(end)
                    if now - quiet_since > seconds:
                        _log.warning("taking over", silent_seconds=round(now - quiet_since, 1))
                        return
                    await pause(stop, min(seconds, limits.STANDBY_LOOK_SECONDS))
        except TopicGoneError as error:
            _log.warning("taking over", reason=error.message)
            return
        except KafkaUnavailableError as error:
            _log.warning("trying again", reason=error.message)
            quiet_since = time.monotonic()
            await pause(stop, BACKOFF_SECONDS_MAX)

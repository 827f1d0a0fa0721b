"""Finding where a node reads on, and what it loads where the topic does not lead on from where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from consumers import limits
from consumers.assembler import group_of, read_since
from consumers.bootstrap import begun_anew, is_there, load_snapshot, resume_offset
from consumers.groups import Verdict, goes_on_from, judge
from schemas.errors import CdcError, GaveUpError, OperatorError, SourceError, SourceUnavailableError
from schemas.event import same_topic
from schemas.kafka_calls import TopicGoneError
from schemas.manifests import newest_snapshot
from schemas.topics import RangeGoneError, TopicMadeAnewError, TopicReader, Topics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from consumers.assembler import Assembler
    from consumers.source_access import SourceAccess
    from consumers.writer import CacheWriter
    from schemas.event import ChangeEvent, Head
    from schemas.manifests import FoundSnapshot
    from schemas.snapshot import Announcement

_log = structlog.get_logger("consumers.node")


class Wayfinder:
    """Leads a cache to a place from which the topic goes on.

    Args:
        writer: the open cache path.
        client_options: makes what aiokafka's consumer takes to reach Kafka.
        topics: where the events are.
        stop: ends it in good order.
        source: the source, where a node has access to it.
        rebuild: begin with the newest snapshot, whatever the cache holds.
    """

    def __init__(
        self,
        writer: CacheWriter,
        client_options: Callable[[], dict[str, Any]],
        topics: Topics,
        stop: asyncio.Event,
        source: SourceAccess | None,
        *,
        rebuild: bool,
    ) -> None:
        self._writer = writer
        self._client_options = client_options
        self._topics = topics
        self._stop = stop
        self._orders = writer.orders
        self._source = source
        self.may_load_source = True
        """Nothing was loaded from the source in this life, or somebody asked for it."""
        self._asked: tuple[Head, int, int] | None = None
        """Of which group, standing where, the source was asked last."""
        self.rebuild = rebuild
        """Whatever the cache holds is to be loaded anew, still."""
        self.rows = 0
        """What was loaded."""

    async def resume(self, *, once: bool) -> int | None:
        """Where to begin in the topic, after a load where one is needed; None when told to stop."""
        checkpoint = self._writer.checkpoint
        if checkpoint is None or self.rebuild:
            reason = "told to rebuild" if self.rebuild else "the cache is empty"
            return await self.load_past(None, reason, once=once)
        async with TopicReader(self._client_options()) as reader:
            resumed = await resume_offset(reader, self._topics, checkpoint)
        if resumed is not None:
            return resumed
        reason = "the topic was begun anew, or is of another database"
        return await self.load_past(None, reason, once=once)

    async def across(self, event: ChangeEvent, *, once: bool) -> int | None:
        """Loads what leads past a group that cannot be applied; returns where to read on, or None to stop."""
        checkpoint, verdict = self._writer.checkpoint, self._judge(event)
        stands = "nowhere" if checkpoint is None else f"at {checkpoint.position}"
        reason = f"the topic goes on at {event.epoch}:{event.prev}, the cache stands {stands}"
        if self.of_other_settings(event):
            reason += ", by other settings than those it was loaded by"
        elif verdict is Verdict.SKIP:
            # Nothing of the history that was lost can be compared with what the topic goes on with.
            return await self.load_past(None, f"{reason}, which is lost (a backup was restored)", once=once)
        elif verdict is Verdict.STRIDES:
            reason += ", and nothing proves that no backup was restored below that"
        elif self._of_other_history(event):
            reason += ", in another history of the change log (a backup was restored)"
        return await self.load_past(event, reason, once=once)

    async def leads_on(self, event: ChangeEvent) -> bool:
        """Whether a group that begins before where the cache stands is proved to lead on from there.

        The cache was loaded from the source, or kept without Kafka. The source may have been restored to
        below that since, and above what was published: only the source can tell, and not on every node.

        Raises:
            SourceUnavailableError: it is away, and Kafka has nothing that leads past it.
        """
        head, source = self._writer.groups.head, self._source
        if head is None or source is None:
            return False
        try:
            return await source.leads_through(head, group_of(event))
        except SourceUnavailableError as error:
            found = await self._look_for_snapshot(event)
            if found is not None and goes_on_from(head, found.announcement.position):
                return False
            raise SourceUnavailableError(
                f"cannot ask whether a backup was restored since the cache was loaded: {error.message}",
                "it goes on when the source is back, or run: cdc rebuild --from kafka",
            ) from error
        except CdcError as error:
            _log.warning("the source cannot tell whether a backup was restored", reason=error.message)
            return False

    async def is_lost(self, assembler: Assembler, begun: int | None) -> bool:
        """Whether a topic that ends with a group below where the cache stands will not lead on from there.

        Most often its poller is late, or somebody else published the same once more. But a backup may have
        been restored: then the topic that led the cache here was begun anew, or, where the cache was loaded
        from the source, the source has lost what it was loaded from. The source says so, and so does a group
        that it was read for since the topic was seen to end at ``begun``, which was after that load.
        """
        head, behind = self._writer.groups.head, assembler.behind
        if behind is None or head is None:
            return False
        if self._writer.groups.between:
            told = begun is not None and read_since(behind, begun)
            lost = told or await self._has_source_lost(head, behind)
        else:
            lost = await self._is_begun_anew()
        if not lost:
            assembler.behind = None
        return lost

    async def _has_source_lost(self, head: Head, behind: ChangeEvent) -> bool:
        asked = (head, behind.high, behind.nonce)
        if self._source is None or asked == self._asked:
            return False
        # Once a group: heartbeats lead to where it led.
        self._asked = asked
        try:
            return await self._source.has_lost(head)
        except CdcError as error:
            _log.warning("the source cannot tell whether a backup was restored", reason=error.message)
            return False

    async def _is_begun_anew(self) -> bool:
        checkpoint = self._writer.checkpoint
        async with TopicReader(self._client_options()) as reader:
            return checkpoint is not None and await begun_anew(reader, self._topics, checkpoint)

    def of_other_settings(self, event: ChangeEvent) -> bool:
        """Whether nothing but the settings keeps a group from being applied: no stray, only a load helps."""
        return self._judge(event) is Verdict.OTHER_SETTINGS

    async def load_past(self, event: ChangeEvent | None, reason: str, *, once: bool) -> int | None:
        """Loads what leads past ``event``: a snapshot, else the source where that is at hand.

        Waits for a snapshot where there is neither. Returns where to read on, None when told to stop.
        """
        self._writer.live.barred()
        warned = False
        tries_left = limits.SNAPSHOT_TRIES_MAX
        while not self._stop.is_set():
            found = await self._look_for_snapshot(event)
            if found is not None:
                _log.info("loading a snapshot", reason=reason)
                try:
                    return await self._load(found)
                except RangeGoneError as error:
                    if not (tries_left := tries_left - 1):
                        raise
                    # A poller has published two newer ones meanwhile, and deleted this one.
                    _log.warning("taking a newer snapshot", reason=error.message)
                    continue
            offset = await self.load_from_source(reason)
            if offset is not None:
                return offset
            remedy = "run: cdc poll, or cdc snapshot, at the source"
            if once:
                raise OperatorError(f"{reason}, and there is no snapshot in {self._topics.snapshots}", remedy)
            if not warned:
                _log.warning(
                    "waiting for a snapshot", reason=reason, topic=self._topics.snapshots, remedy=remedy
                )
                warned = True
            await self._orders.rest(self._stop, limits.MANIFEST_WAIT_SECONDS)
            if self._orders.waiting:
                await self._orders.attend(self._stop)
        return None

    async def load_from_source(self, reason: str) -> int | None:
        """Loads everything from the source, where that is at hand; returns where to read on.

        Once a life: a topic that does not go on from the source's state would have us load for ever.
        """
        if self._source is None or not self.may_load_source:
            return None
        self.may_load_source = False
        _log.info("loading from the source", reason=reason)
        try:
            self.rows += await self._source.load(self._writer)
        except (SourceError, GaveUpError) as error:
            _log.warning("the source cannot help", reason=error.message)
            return None
        self.rebuild = False
        checkpoint = self._writer.checkpoint
        async with TopicReader(self._client_options()) as reader:
            return None if checkpoint is None else await resume_offset(reader, self._topics, checkpoint)

    async def _load(self, found: FoundSnapshot) -> int:
        options = {"max_partition_fetch_bytes": limits.LOAD_FETCH_BYTES_MAX, **self._client_options()}
        async with TopicReader(options) as reader:
            self.rows += await load_snapshot(reader, self._topics, found, self._writer)
        self.rebuild = False
        return found.next_offset

    async def _look_for_snapshot(self, event: ChangeEvent | None) -> FoundSnapshot | None:
        # Of another history nothing can be compared: the newest snapshot is of what the topic goes on with.
        anything = event is None or self._of_other_history(event)
        by_settings = event is not None and self.of_other_settings(event)

        def accept(announcement: Announcement) -> bool:
            if by_settings and not anew:
                return goes_on_from(self._writer.groups.head, announcement.position)
            return anything or event is None or self._leads_past(announcement.position, event, gone=gone)

        checkpoint, anew, gone = self._writer.checkpoint, False, False
        async with TopicReader(self._client_options()) as reader:
            try:
                if checkpoint is not None and await begun_anew(reader, self._topics, checkpoint):
                    anything = anew = True
                if event is not None and not await is_there(reader, self._topics, event):
                    # It says nothing any more of how the topic goes on; and of another topic it never did.
                    gone = True
                    if not same_topic(event.topic_id, reader.topic_id(self._topics.events)):
                        raise TopicMadeAnewError(self._topics.events)
                return await newest_snapshot(reader, self._topics, accept)
            except TopicGoneError:
                return None

    def _leads_past(self, position: Head, event: ChangeEvent, *, gone: bool) -> bool:
        head = self._writer.groups.head
        life = (position.epoch, position.epoch_nonce)
        if life != (event.epoch, event.epoch_nonce):
            # The same number is given again where what had it is gone from the topic and from the source.
            return gone or position.epoch >= event.epoch
        same_life = head is not None and life == (head.epoch, head.epoch_nonce)
        return head is None or not same_life or position.change_id > head.change_id

    def _of_other_history(self, event: ChangeEvent) -> bool:
        """Whether the cache stands in another history than a group, or nothing proves that it does not."""
        return self._judge(event) in (Verdict.OTHER_HISTORY, Verdict.STRIDES)

    def _judge(self, event: ChangeEvent) -> Verdict:
        groups = self._writer.groups
        return judge(groups.head, group_of(event), between=groups.between)

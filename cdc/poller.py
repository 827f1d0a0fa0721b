"""The poller: from the source's log to a publication, one poll at a time.

The same poller runs everywhere; only the publication differs: a Kafka topic, or the cache of this process. It
keeps no state of its own: the publication knows how far it came.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from cdc.capture import CaptureStaleError, LogBrokenError, limits
from cdc.capture.leases import secure
from cdc.capture.log import rows_of
from cdc.plan import Changes, Idle, Load, NewEpoch, Plan, as_new_as, log_head, plan_poll, plan_reread
from schemas.errors import SourceError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cdc.capture import Capture, Change, LogState, SourceReader
    from cdc.capture.leases import Reader
    from schemas.event import Head

_log = structlog.get_logger("cdc.poller")

MINTS_MAX = 5
"""How many new epochs one poll may begin: more means that something else rewrites the log all the time."""

REMAKES_MAX = 5
"""How often capture is remade within one poll while somebody changes the schema."""

SETTLING_POLLS_MAX = 50
"""Polls until a publication must be exact, where rows are read in many moments while they change."""


class LogUnsteadyError(SourceError):
    """The log became another one again and again while it was looked at."""


class Publication(Protocol):
    """Where groups go."""

    @property
    def log_reader(self) -> Reader | None:
        """Under which name it has a lease on the log; None where it does not read on from there."""
        ...

    def head(self) -> Head | None:
        """Where the next group must chain; None: nowhere, everything has to be loaded."""
        ...

    def source_is_looked_at(self) -> None:
        """Whatever is published from now on is of the source as it is now, or later."""
        ...

    def recognise(self, state: LogState) -> Head | None:
        """The same, now that the database has said who it is: None where the head is of another database.

        Raises:
            OperatorError: the publication belongs to another database, and only a person may change that.
        """
        ...

    def held(self) -> Mapping[str, int] | None:
        """The tables that readers hold, with their settings' digests; None where that is not known.

        A table that joined since need not be in it.
        """
        ...

    async def publish(
        self, head: Head, prev: int, pages: AsyncIterator[list[Change]], newest: Callable[[], LogState]
    ) -> int:
        """Makes one whole group of the pages, spanning (prev, head.change_id]; returns its events.

        ``prev`` is the ``change_id`` that ``head()`` said. What ``newest`` says when the pages have ended is
        how new their rows may be (`cdc.plan.as_new_as`). When this returns, the group is durable.
        """
        ...

    async def load(self, reader: SourceReader, state: LogState, reason: str) -> int:
        """Takes over every row that the reader shows, as of what it settles on; returns how many."""
        ...


class Snapshots(Protocol):
    """A publication that readers start from, and which therefore needs a snapshot beside its changes."""

    async def snapshot(self, reader: SourceReader, state: LogState) -> int:
        """Adds a snapshot of ``state``, which was published up to already, or later; returns its rows."""
        ...


class Polled(msgspec.Struct, frozen=True):
    """What one poll did: rows loaded, events published, and where the publication stands now."""

    head: Head
    rows: int = 0
    events: int = 0

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do, and nothing newer is known."""
        return not self.rows and not self.events and self.exact

    @property
    def exact(self) -> bool:
        """Whether no row that was published is newer than where the publication stands."""
        return self.head.change_id >= self.head.exact_at


class Done(msgspec.Struct):
    """What polls did so far, for a command that has to begin again: rows loaded, events published."""

    rows: int = 0
    events: int = 0

    def at(self, head: Head) -> Polled:
        """All of it, now that the publication stands at ``head``."""
        return Polled(head=head, rows=self.rows, events=self.events)


class Poller:
    """Brings a publication to the end of the log.

    Args:
        capture: the source's log and rows.
        publication: where they go.
    """

    def __init__(self, capture: Capture, publication: Publication) -> None:
        self._capture = capture
        self._publication = publication
        self._reviewed = False
        self._log_reader = publication.log_reader

    async def poll(self, snapshots: Snapshots | None = None) -> Polled:
        """Publishes everything that is committed at the source now, as one group or one load.

        Where ``snapshots`` is given, a snapshot of the same state follows (unless the load was one). Safe to
        stop at any line: nothing but the publication remembers how far it came, and the publication takes a
        group whole or not at all.
        """
        mints = remakes = leases = 0
        while True:
            try:
                plan = await self._attempt(snapshots)
                if isinstance(plan, Polled):
                    return plan
                if plan is None:
                    await self._capture.mark()
                elif isinstance(plan, _Unheld):
                    leases += 1
                    await self._secure(leases)
                else:
                    mints += 1
                    await self._begin_epoch(plan, mints)
            except CaptureStaleError as stale:
                remakes += 1
                if remakes > REMAKES_MAX:
                    raise
                _log.info("remaking capture", reason=stale.message)
                report = await self._capture.install()
                for name in sorted(set(report.changed).difference(report.tables)):
                    _log.warning("a table leaves: it is dropped, or can be captured no more", table=name)

    async def settle(self, done: Done, snapshots: Snapshots | None = None) -> Polled:
        """Polls until what is published is the exact state of one moment, for a caller who polls no more.

        A source that is read in many short moments may show rows that are newer than the end of the log that
        the poll began with. ``done`` is told of each poll, and of all of them returned.

        Raises:
            SourceUnavailableError: the source changes faster than it can be read.
        """
        for _ in range(SETTLING_POLLS_MAX):
            polled = await self.poll(snapshots)
            snapshots = None
            done.rows += polled.rows
            done.events += polled.events
            if polled.exact:
                return done.at(polled.head)
        raise SourceUnavailableError(
            "the source changes faster than it can be read", "try again when less is written there"
        )

    async def _secure(self, tries: int) -> None:
        """Writes a lease, so that nothing the load will need is pruned while it lasts.

        A source that is locked or away is tried again by whoever polls; one that refuses is read without.
        """
        if self._log_reader is None or tries > limits.LEASE_TRIES_MAX:
            _log.warning("loading without a lease: it is taken away again and again")
            self._log_reader = None
            return
        try:
            await secure(self._capture.client, self._log_reader)
        except SourceUnavailableError:
            raise
        except SourceError as error:
            _log.warning("loading without a lease: the log may be pruned meanwhile", reason=error.message)
            self._log_reader = None

    async def _begin_epoch(self, plan: NewEpoch, mints: int) -> None:
        if mints > MINTS_MAX:
            raise LogUnsteadyError(
                f"the change log changes its identity again and again: {plan.reason}",
                "stop whatever rewrites the _cdc_ tables at the source",
            )
        _log.warning("beginning a new epoch", reason=plan.reason, above=plan.above)
        await self._capture.mint_epoch(plan.above, None if plan.certain else self._publication.head())

    async def _attempt(self, snapshots: Snapshots | None) -> Polled | NewEpoch | _Unheld | None:
        """Polls once; None: what is published has changed, and the log has no row yet to lead readers to."""
        known = self._publication.head()
        self._publication.source_is_looked_at()
        async with self._capture.reading() as reader:
            state = await reader.state(*(() if known is None else rows_of(known)))
            known = self._publication.recognise(state)
            plan = plan_poll(known, state)
            self._review(reader)
            try:
                return await self._carry_out(plan, known, reader, state, snapshots)
            except LogBrokenError as broken:
                return NewEpoch(above=state.epoch, reason=broken.message, certain=True)

    async def _carry_out(
        self,
        plan: Plan,
        known: Head | None,
        reader: SourceReader,
        state: LogState,
        snapshots: Snapshots | None,
    ) -> Polled | NewEpoch | _Unheld | None:
        # Proved by the publication itself: whoever published last, and whenever this dies.
        resettled = known is not None and known.settings != reader.settings
        head, rows, events = log_head(state, reader.settings), 0, 0
        match plan:
            case NewEpoch():
                return plan
            case Load(reason=reason):
                if self._log_reader is not None and not await reader.is_held_for(self._log_reader):
                    return _Unheld()
                await reader.rest()
                rows = await self._publication.load(reader, state, reason)
                return Polled(head=log_head(reader.settled, reader.settings), rows=rows)
            case Changes(prev=prev, high=high):
                anew = self._reread(reader) if resettled else frozenset[str]()
                async with aclosing(reader.changes(prev, high, anew)) as pages:
                    events = await self._publication.publish(head, prev, pages, lambda: reader.newest)
                head = as_new_as(head, reader.newest)
            case Idle():
                if resettled:
                    return None
                head = known or head
        if snapshots is not None:
            await reader.rest()
            rows = await snapshots.snapshot(reader, state)
            # Read in several moments, it may have had to lead the chain on.
            head = self._publication.head() or head
        return Polled(head=head, rows=rows, events=events)

    def _reread(self, reader: SourceReader) -> frozenset[str]:
        """The tables that readers hold by other settings."""
        tables = plan_reread(reader.tables(), reader.known(), self._publication.held())
        _log.info("what is published has changed", tables=sorted(tables))
        return tables

    def _review(self, reader: SourceReader) -> None:
        """Looks once at what is selected, and warns of what is left out."""
        if self._reviewed:
            return
        self._reviewed = True
        for skipped in reader.skipped:
            _log.warning("a table is left out", table=skipped.table, reason=skipped.reason)
        if not reader.tables():
            _log.warning("there is no table to capture")


class _Unheld(msgspec.Struct, frozen=True):
    """A load would begin, and there is no lease yet that holds what follows it in the log."""

"""The statements of leases, heartbeats and pruning, answered from one moment of the simulated source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cdc.capture import heartbeat, leases, prune
from cdc.capture.ddl import NO_TABLE_ID, OP_HEARTBEAT
from schemas.errors import SourceError

if TYPE_CHECKING:
    from tests.simulation.source import Contents, SimSource

LEASE_SECONDS = 6.0
"""The shipped seven days, in simulated time."""

UNGUARDED = "unguarded"
"""What a mutant puts in the place of the statement that looks at leases under the write lock."""

UNGUARDED_DELETE = "unguarded delete"


class SimLease(NamedTuple):
    """A row of the table of leases."""

    epoch: int
    epoch_nonce: int
    change_id: int
    renewed_ms: int


Answer = tuple[list[tuple[Any, ...]], int]
"""Rows, and how many rows were changed."""


def now_ms(source: SimSource) -> int:
    return int(source.world.loop.now * 1000)


def is_live(lease: SimLease, now: int, ms_max: int) -> bool:
    return now - ms_max <= lease.renewed_ms <= now + ms_max


def answer(source: SimSource, contents: Contents, sql: str, args: tuple[Any, ...]) -> Answer | None:
    """What the statement gives; None where it is not one of these."""
    handle = _HANDLERS.get(sql)
    if handle is None:
        return None
    if contents.meta is None:
        raise SourceError("no such table")
    return handle(source, contents, *args)


def _list(source: SimSource, contents: Contents) -> Answer:
    assert source
    return [(*key, *lease) for key, lease in sorted(contents.leases.items())], 0


def _renew(source: SimSource, contents: Contents, kind: str, name: str, *at: int) -> Answer:
    held, life = contents.leases.get((kind, name)), contents.meta and contents.meta[:2]
    if held is not None and held[:2] == life != at[:2]:
        return [], 0
    contents.leases = {**contents.leases, (kind, name): SimLease(*at, now_ms(source))}
    return [], 1


def _secure(source: SimSource, contents: Contents, kind: str, name: str) -> Answer:
    assert contents.meta is not None
    if not contents.log:
        return [], 0
    high = contents.log[-1].change_id
    old = contents.leases.get((kind, name))
    if old is not None and old[:2] == contents.meta[:2] and old.change_id > contents.meta[3]:
        high = min(high, old.change_id)
    return _renew(source, contents, kind, name, *contents.meta[:2], high)


def _held(source: SimSource, contents: Contents, kind: str, name: str, ms_max: int, _: int) -> Answer:
    assert contents.meta is not None
    lease = contents.leases.get((kind, name))
    held = (
        lease is not None
        and lease[:2] == contents.meta[:2]
        and lease.change_id > contents.meta[3]
        and is_live(lease, now_ms(source), ms_max)
    )
    return [(int(held),)], 0


def _fresh(source: SimSource, contents: Contents, kind: str, name: str, *rest: int) -> Answer:
    lease = contents.leases.get((kind, name))
    fresh = lease is not None and lease[:3] == rest[:3] and is_live(lease, now_ms(source), rest[3])
    return [(int(fresh),)], 0


def _bounds(source: SimSource, contents: Contents) -> Answer:
    assert contents.meta is not None
    log = contents.log
    ends = (log[0].change_id, log[-1].change_id, log[0].ts) if log else (None, None, None)
    return [(*contents.meta[:2], contents.meta[3], *ends, now_ms(source))], 0


def _young(source: SimSource, contents: Contents, stays: int, young: int, far: int) -> Answer:
    assert source
    found = (row.change_id for row in contents.log if row.change_id < stays and young < row.ts <= far)
    first = next(found, None)
    return [] if first is None else [(first,)], 0


def _advance(source: SimSource, contents: Contents, to: int, epoch: int, nonce: int, *rest: int) -> Answer:
    assert contents.meta is not None
    held = any(
        lease[:2] == contents.meta[:2] and lease.change_id <= to and is_live(lease, now_ms(source), rest[-1])
        for lease in contents.leases.values()
    )
    there = contents.log and contents.log[-1].change_id > to
    return _set_pruned_to(contents, to, ok=not held and bool(there) and (epoch, nonce) == contents.meta[:2])


def _advance_unguarded(source: SimSource, contents: Contents, to: int, *_: int) -> Answer:
    assert source
    return _set_pruned_to(contents, to, ok=True)


def _set_pruned_to(contents: Contents, to: int, *, ok: bool) -> Answer:
    assert contents.meta is not None
    if not ok or contents.meta[3] >= to:
        return [], 0
    contents.meta = (*contents.meta[:3], to)
    return [], 1


def _delete(source: SimSource, contents: Contents, to: int) -> Answer:
    assert contents.meta is not None
    if not contents.log:
        return [], 0
    return _delete_unguarded(source, contents, min(to, contents.meta[3], contents.log[-1].change_id - 1))


def _delete_unguarded(source: SimSource, contents: Contents, to: int) -> Answer:
    assert source
    before = len(contents.log)
    contents.log = tuple(row for row in contents.log if row.change_id > to)
    return [], before - len(contents.log)


def _expire(source: SimSource, contents: Contents, ms_max: int, _: int) -> Answer:
    live = {key: one for key, one in contents.leases.items() if is_live(one, now_ms(source), ms_max)}
    gone = len(contents.leases) - len(live)
    contents.leases = live
    return [], gone


def _beat(source: SimSource, contents: Contents, nonce: int) -> Answer:
    if not contents.log or contents.log[-1].nonce != nonce:
        return [], 0
    source.log_control(contents, NO_TABLE_ID, OP_HEARTBEAT)
    return [], 1


_HANDLERS: dict[str, Any] = {
    leases.LEASES_SQL: _list,
    leases.RENEW_SQL: _renew,
    leases.SECURE_SQL: _secure,
    leases.HELD_SQL: _held,
    leases.FRESH_SQL: _fresh,
    prune.BOUNDS_SQL: _bounds,
    prune.YOUNG_SQL: _young,
    prune.ADVANCE_SQL: _advance,
    prune.DELETE_SQL: _delete,
    prune.EXPIRE_SQL: _expire,
    heartbeat.HEARTBEAT_SQL: _beat,
    UNGUARDED: _advance_unguarded,
    UNGUARDED_DELETE: _delete_unguarded,
}

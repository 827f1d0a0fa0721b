"""Which records become rows: the rules of counting, whole and chaining groups."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import msgspec
import pytest

from consumers.assembler import Assembler, Interrupted, arrived_since, group_of, read_since
from consumers.groups import Groups, Verdict, goes_on_from, judge
from consumers.meta import QUARANTINE_TABLE
from schemas import parts
from schemas.codec import decode_event, decode_row, encode_event
from schemas.errors import UnsupportedVersionError
from schemas.event import ChangeEvent, Op
from schemas.keys import decode_key
from schemas.parts import parts_of
from tests.support.events import TABLE, Landed, group, head

if TYPE_CHECKING:
    from schemas.values import Value

MANY = 1_000_000


def assembler(at: int = 0) -> Assembler:
    return Assembler(Groups(head(at)), 0)


def applied(subject: Assembler) -> dict[int, Value]:
    """What the whole groups would write: id to v, None for a delete."""
    state: dict[int, Value] = {}
    for key, row, _ in subject.groups.ready.ops.get(TABLE, []):
        (row_id,) = decode_key(key)
        assert isinstance(row_id, int)
        state[row_id] = None if row is None else decode_row(row)["v"]
    return state


def feed(subject: Assembler, records: list[Landed], limit: int = MANY) -> Interrupted | None:
    return subject.feed(iter(records), limit)


def test_a_whole_group_is_applied_and_moves_head_and_offset():
    subject = assembler()
    assert feed(subject, group(0, 0, 3, [(1, "a"), (2, "b"), (1, None)])) is None
    assert applied(subject) == {1: None, 2: "b"}
    assert subject.groups.head == head(3)
    assert subject.offset == 3


def test_half_a_group_is_not_applied():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a"), (2, "b")])[:1])
    assert applied(subject) == {}
    assert subject.groups.head == head(0)
    assert subject.offset == 0


def test_half_a_group_followed_by_another_writers_group_is_dead():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a"), (2, "b"), (3, "c")])[:2])
    feed(subject, group(2, 0, 4, [(2, "x")], writer=2))
    assert applied(subject) == {2: "x"}
    assert subject.groups.head == head(4)
    assert subject.counters.torn == 1


def test_a_record_at_another_offset_than_its_own_is_void():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a")], landed=5))
    assert applied(subject) == {}
    assert subject.counters.void == 1


@pytest.mark.parametrize(
    ("written", "read", "applied_rows"), [(7, 7, 1), (7, 8, 0), (7, None, 1), (None, 8, 1), (None, None, 1)]
)
def test_a_record_that_was_meant_for_another_topic_of_that_name_is_void(
    written: int | None, read: int | None, applied_rows: int
):
    subject = Assembler(Groups(head(0)), 0, read)
    feed(subject, group(0, 0, 3, [(1, "a")], topic_id=written))
    assert len(applied(subject)) == applied_rows
    assert subject.counters.astray == subject.counters.void == 1 - applied_rows


def test_void_records_inside_a_group_kill_it():
    subject = assembler()
    first = group(0, 0, 3, [(1, "a"), (2, "b")])
    stranger = group(99, 0, 9, [(7, "z")], writer=2, landed=1)
    late = [msgspec.structs.replace(first[1], offset=2)]
    feed(subject, [first[0], *stranger, *late])
    assert applied(subject) == {}
    assert subject.counters.void == 2


def test_a_strangers_garbage_is_stepped_over():
    subject = assembler()
    feed(subject, [Landed(0, None, b"not ours"), Landed(1, b"", None), *group(2, 0, 1, [(1, "a")])])
    assert applied(subject) == {1: "a"}
    assert subject.counters.foreign == 2


def test_a_duplicate_group_is_skipped_but_its_offset_is_dealt_with():
    subject = assembler(at=5)
    feed(subject, group(0, 3, 5, [(1, "old")]))
    assert applied(subject) == {}
    assert subject.offset == 1


@pytest.mark.parametrize(("high", "proved"), [(3, False), (5, True)])
def test_an_offset_is_proved_only_by_a_group_that_leads_to_where_the_reader_stands(
    high: int, *, proved: bool
):
    subject = Assembler(Groups(head(5), between=True), 7)
    feed(subject, group(7, 2, high, [(1, "old")]))
    assert subject.proved is proved


@pytest.mark.parametrize(
    ("snapshot", "worth_it"),
    [
        ({"change_id": 4}, False),
        ({"change_id": 5}, False),
        ({"change_id": 5, "settings": 2}, True),
        ({"change_id": 4, "settings": 2}, False),
        ({"change_id": 6}, True),
        ({"change_id": 1, "epoch": 2}, True),
        ({"change_id": 9, "epoch": 0}, False),
    ],
)
def test_a_snapshot_for_a_reader_of_other_settings_leads_neither_back_nor_nowhere(
    snapshot: dict[str, int], *, worth_it: bool
):
    stands = head(5)
    assert goes_on_from(stands, msgspec.structs.replace(stands, **snapshot)) is worth_it
    assert goes_on_from(None, stands)


def test_an_overlapping_group_just_after_a_load_from_elsewhere_waits_for_a_proof():
    groups = Groups(head(4), between=True)
    subject = Assembler(groups, 0)
    records = group(0, 3, 6, [(1, "new")])
    assert feed(subject, records) is Interrupted.STRIDES
    assert (applied(subject), groups.head, subject.offset) == ({}, head(4), 0)
    assert subject.stopped_by is not None
    groups.prove(group_of(subject.stopped_by))
    assert feed(subject, records) is None
    assert (applied(subject), groups.head, subject.offset) == ({1: "new"}, head(6), 1)
    assert feed(subject, group(1, 5, 8, [(1, "again")])) is Interrupted.OTHER_HISTORY


def test_a_proof_is_of_one_group_alone():
    groups = Groups(head(4), between=True)
    subject = Assembler(groups, 0)
    first = group(0, 3, 6, [(1, "torn"), (2, "torn")])
    groups.prove(group_of(decode_event(first[0].value or b"")))
    assert feed(subject, first[:1]) is None
    assert feed(subject, group(1, 3, 6, [(1, "other")], writer=2, nonce=1)) is Interrupted.STRIDES
    assert applied(subject) == {}


def test_a_group_that_strides_kills_what_was_streamed_of_one_before_it():
    groups = Groups(head(4), between=True)
    subject = Assembler(groups, 0)
    first = group(0, 3, 6, [(1, "torn"), (2, "torn")])
    groups.prove(group_of(decode_event(first[0].value or b"")))
    feed(subject, first[:1])
    groups.take_open()
    other = iter(group(1, 3, 7, [(1, "other")], writer=2))
    assert subject.feed(other, MANY) is Interrupted.TAKE_BACK
    assert subject.feed(other, MANY) is Interrupted.STRIDES


def test_a_group_of_other_settings_needs_a_load_and_no_proof():
    subject = Assembler(Groups(msgspec.structs.replace(head(4), settings=5), between=True), 0)
    assert feed(subject, group(0, 3, 6, [(1, "new")])) is Interrupted.OTHER_SETTINGS


def test_an_overlapping_group_is_of_another_history_once_the_topic_led_here():
    subject = assembler(at=4)
    assert feed(subject, group(0, 3, 6, [(1, "new")])) is Interrupted.OTHER_HISTORY
    assert applied(subject) == {}


def test_a_group_by_other_settings_bars_the_way_when_it_is_whole():
    subject = assembler(at=4)
    assert feed(subject, group(0, 4, 6, [(1, "a"), (2, "b")], settings=9)) is Interrupted.OTHER_SETTINGS
    assert applied(subject) == {}
    assert (subject.groups.head, subject.offset, subject.proved) == (head(4), 0, False)


def test_half_a_group_by_other_settings_bars_nothing():
    subject = assembler(at=4)
    half = group(0, 4, 6, [(1, "a"), (2, "b")], settings=9)[:1]
    assert feed(subject, half + group(1, 4, 6, [(3, "c")], writer=2)) is None
    assert applied(subject) == {3: "c"}


def test_parts_of_a_dead_group_are_taken_back_before_one_by_other_settings_stops_the_reader():
    subject = assembler(at=4)
    feed(subject, group(0, 4, 6, [(1, "a"), (2, "b")])[:1])
    subject.groups.take_open()
    records = iter(group(1, 4, 6, [], writer=2, settings=9))
    assert subject.feed(records, MANY) is Interrupted.TAKE_BACK
    assert subject.feed(records, MANY) is Interrupted.OTHER_SETTINGS


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize(
    ("prev", "high", "nonces"),
    [(4, 6, {"prev_nonce": 1}), (3, 4, {"nonce": 1}), (4, 4, {"nonce": 1, "prev_nonce": 1})],
    ids=["it follows on another row", "it leads to another row", "it is empty and stands on another row"],
)
def test_a_group_of_another_history_is_not_applied(
    prev: int, high: int, nonces: dict[str, int], *, between: bool
):
    subject = Assembler(Groups(head(4), between=between), 0)
    rows = [] if prev == high else [(1, "other")]
    assert feed(subject, group(0, prev, high, rows, **nonces)) is Interrupted.OTHER_HISTORY
    assert applied(subject) == {}
    assert subject.groups.head == head(4)
    assert subject.offset == 0


def test_a_group_of_a_poller_that_tells_no_nonce_of_prev_is_applied():
    subject = assembler(at=4)
    (record,) = group(0, 4, 6, [(1, "new")])
    assert record.value is not None
    fields = msgspec.msgpack.decode(record.value)
    older = msgspec.msgpack.encode(fields[: ChangeEvent.__struct_fields__.index("prev_nonce")])
    feed(subject, [Landed(0, record.key, older)])
    assert applied(subject) == {1: "new"}


def test_a_hole_is_never_crossed():
    subject = assembler(at=4)
    assert feed(subject, group(0, 5, 6, [(1, "new")])) is Interrupted.HOLE
    assert applied(subject) == {}
    assert subject.groups.head == head(4)
    assert subject.stopped_by is not None
    assert subject.stopped_by.prev == 5


def test_an_empty_group_that_lies_ahead_is_a_hole_too():
    assert feed(assembler(at=4), group(0, 6, 6, [])) is Interrupted.HOLE


def test_a_lower_epoch_is_ignored():
    subject = Assembler(Groups(head(4, epoch=2)), 0)
    assert feed(subject, group(0, 4, 6, [(1, "old life")])) is None
    assert applied(subject) == {}


@pytest.mark.parametrize("other", [{"epoch": 2}, {"epoch_nonce": 12}])
def test_another_life_of_the_log_needs_a_snapshot(other: dict[str, int]):
    subject = assembler(at=4)
    assert feed(subject, group(0, 4, 6, [(1, "new life")], **other)) is Interrupted.NEW_EPOCH
    assert applied(subject) == {}


def test_nothing_is_applied_before_something_was_loaded():
    subject = Assembler(Groups(None), 0)
    assert feed(subject, group(0, 0, 6, [(1, "a")])) is Interrupted.NEW_EPOCH


def test_a_streamed_group_that_dies_is_taken_back_and_the_next_one_still_applies():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a"), (2, "b"), (3, "c")])[:2])
    subject.groups.take_open()
    records = iter(group(2, 0, 4, [(2, "x"), (4, "y")], writer=2))
    assert subject.feed(records, MANY) is Interrupted.TAKE_BACK
    assert subject.feed(records, MANY) is None
    assert applied(subject) == {2: "x", 4: "y"}


def test_the_tail_of_a_group_whose_beginning_was_not_seen_is_ignored():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a"), (2, "b")])[1:])
    assert applied(subject) == {}


def test_a_truncation_forgets_what_the_batch_held_of_the_table():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a")]) + group(1, 3, 5, [(2, "b")], truncate=True))
    assert applied(subject) == {2: "b"}
    assert set(subject.groups.ready.truncated) == {TABLE}


def test_a_cache_with_rows_newer_than_its_position_that_comes_from_elsewhere_has_to_be_proved():
    """What was lost since may be among them; one that the topic led here is told by the topic's poller."""
    inexact = msgspec.structs.replace(head(4), exact_at=6, exact_nonce=1)
    following = group_of(decode_event(group(0, 4, 7, [(1, "a")])[0].value or b""))
    assert judge(inexact, following, between=True) is Verdict.STRIDES
    assert judge(inexact, following) is Verdict.APPLY
    assert judge(head(4), following, between=True) is Verdict.APPLY


@pytest.mark.parametrize(
    ("read_after", "by_reading", "by_arrival"),
    [(7, False, False), (8, False, False), (9, True, True), (None, False, True)],
)
def test_a_group_tells_whether_the_source_was_read_for_it_since(
    read_after: int | None, *, by_reading: bool, by_arrival: bool
):
    """A batch that was long on its way is of before; a poller that does not tell is taken at its word."""
    event = decode_event(group(20, 4, 7, [(1, "a")], read_after=read_after)[0].value or b"")
    assert read_since(event, 8) is by_reading
    assert arrived_since(event, 8) is by_arrival


def test_exact_at_never_goes_back():
    subject = assembler()
    feed(subject, group(0, 0, 3, [(1, "a")], exact_at=9, exact_nonce=8) + group(1, 3, 5, [(2, "b")]))
    assert subject.groups.head is not None
    assert (subject.groups.head.exact_at, subject.groups.head.exact_nonce) == (9, 8)


def test_feeding_stops_when_enough_rows_were_added():
    subject = assembler()
    records = iter(group(0, 0, 3, [(n, "a") for n in range(10)]))
    assert subject.feed(records, 4) is Interrupted.FULL
    assert subject.groups.open is not None
    assert subject.groups.open.rows == 4
    assert subject.feed(records, MANY) is None
    assert len(applied(subject)) == 10


def test_an_event_of_a_newer_version_stops_everything():
    record = group(0, 0, 3, [(1, "a")])[0]
    assert record.value is not None
    newer = msgspec.msgpack.encode([2, *msgspec.msgpack.decode(record.value)[1:]])
    with pytest.raises(UnsupportedVersionError):
        feed(assembler(), [Landed(0, record.key, newer)])


@pytest.mark.parametrize("op", [Op.HEARTBEAT, Op.SNAPSHOT, Op.END])
def test_control_records_move_only_the_offset(op: str):
    subject = assembler(at=3)
    feed(subject, group(0, 3, 3, [], op=op))
    assert subject.groups.head == head(3)
    assert subject.offset == 1


def in_parts(base: int, prev: int, high: int, value: str, *, writer: int = 1) -> list[Landed]:
    """A group of row 1, which comes in three parts, and row 2 after it."""
    (whole, after) = group(base, prev, high, [(1, value), (2, "b")], writer=writer)
    event = decode_event(whole.value or b"")
    count, pieces = parts_of(event.after, -(-len(event.after) // 3))
    records = [
        msgspec.structs.replace(event, after=piece, index=part, offset=base + part, part=part, parts=count)
        for part, piece in enumerate(pieces)
    ]
    end = decode_event(after.value or b"")
    records.append(msgspec.structs.replace(end, index=count, offset=base + count))
    keys = [whole.key] * count + [after.key]
    return [
        Landed(base + index, key, encode_event(one))
        for index, (one, key) in enumerate(zip(records, keys, strict=True))
    ]


def test_a_row_in_parts_is_one_row():
    subject = assembler()
    feed(subject, in_parts(0, 0, 3, "a long value"))
    assert applied(subject) == {1: "a long value", 2: "b"}
    assert subject.offset == 4


def test_a_group_torn_inside_a_row_dies_and_the_next_one_is_not_touched_by_it():
    subject = assembler()
    feed(subject, in_parts(0, 0, 3, "a long value")[:2])
    feed(subject, in_parts(2, 0, 4, "another value", writer=2))
    assert applied(subject) == {1: "another value", 2: "b"}
    assert subject.counters.torn == 1


def test_a_row_whose_parts_do_not_follow_each_other_kills_its_group():
    records = in_parts(0, 0, 3, "a long value")
    event = decode_event(records[1].value or b"")
    records[1] = msgspec.structs.replace(
        records[1], value=encode_event(msgspec.structs.replace(event, part=2))
    )
    subject = assembler()
    feed(subject, records + group(4, 0, 4, [(7, "z")], writer=2))
    assert applied(subject) == {7: "z"}


def test_a_group_that_ends_inside_a_row_is_dead():
    records = in_parts(0, 0, 3, "a long value")[:2]
    event = decode_event(records[1].value or b"")
    records[1] = msgspec.structs.replace(
        records[1], value=encode_event(msgspec.structs.replace(event, last=True))
    )
    subject = assembler()
    feed(subject, records)
    assert applied(subject) == {}
    assert subject.groups.head == head(0)


def test_a_row_larger_than_one_may_be_is_marked_as_not_published():
    subject = assembler()
    with mock.patch.object(parts, "ROW_BYTES_MAX", 10):
        feed(subject, in_parts(0, 0, 3, "a long value"))
    assert applied(subject) == {1: None, 2: "b"}
    assert subject.groups.ready.ops[QUARANTINE_TABLE]

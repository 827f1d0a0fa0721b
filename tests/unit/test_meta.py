"""The typed entries of a cache file's meta table."""

from __future__ import annotations

import msgspec
import pytest

from consumers.meta import (
    CHECKPOINT_KEY,
    FILE_FORMAT,
    Checkpoint,
    Identity,
    checkpoint_meta,
    definition_meta,
    identity_meta,
    read_checkpoint,
    read_definitions,
    read_identity,
)
from schemas import Position
from schemas.errors import CacheCorruptError, UnsupportedVersionError
from tests.support.caches import EPISODES, STEPS, checkpoint


def present(*changes: dict[str, bytes | None]) -> dict[str, bytes]:
    return {key: value for change in changes for key, value in change.items() if value is not None}


def test_entries_come_back_as_they_were_written():
    identity = Identity("node-a", 1_700_000_000_000)
    meta = present(
        identity_meta(identity),
        checkpoint_meta(checkpoint(7)),
        definition_meta("steps", STEPS),
        definition_meta("episodes", EPISODES),
    )
    assert read_identity(meta) == identity
    assert read_checkpoint(meta) == checkpoint(7)
    assert list(read_definitions(meta).items()) == [("episodes", EPISODES), ("steps", STEPS)]


def test_an_empty_file_has_none_of_them():
    assert read_identity({}) is None
    assert read_checkpoint({}) is None
    assert read_definitions({}) == {}


def test_a_definition_of_none_takes_the_entry_away():
    assert definition_meta("episodes", None) == {"table:episodes": None}


def test_fields_of_a_newer_program_are_ignored():
    fields = {**msgspec.to_builtins(checkpoint(7)), "later": [1, 2]}
    assert read_checkpoint({CHECKPOINT_KEY: msgspec.msgpack.encode(fields)}) == checkpoint(7)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x01", msgspec.msgpack.encode({"epoch": "one"})])
def test_an_entry_that_cannot_be_read_is_damage(data: bytes):
    with pytest.raises(CacheCorruptError, match="cdc rebuild"):
        read_checkpoint({CHECKPOINT_KEY: data})


def test_a_file_of_a_newer_format_is_refused():
    meta = present(identity_meta(Identity("node-a", 0, format=FILE_FORMAT + 1)))
    with pytest.raises(UnsupportedVersionError, match="upgrade"):
        read_identity(meta)


def test_a_checkpoint_knows_its_position_and_whether_it_is_exact():
    before = Checkpoint(2, 1, 9, 1, 10, 4711, "d", "u")
    assert before.position == Position(2, 9)
    assert not before.exact
    assert msgspec.structs.replace(before, change_id=10).exact

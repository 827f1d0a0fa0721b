"""Values too large for one record: split over several consecutive ones, and joined again.

A part is a msgpack bin: a piece of the value's msgpack encoding. Both sides agree here on what is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from schemas.rows import bad_event

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW_BYTES_MAX: Final = 72 * 1024 * 1024
"""The largest encoded row that is published: 64 MiB of content, and what encoding adds."""


def too_large(size_bytes: int) -> bool:
    """Whether a row of this encoded size is not published, nor held by a reader."""
    return size_bytes > ROW_BYTES_MAX


def parts_of(value: bytes | msgspec.Raw, part_bytes: int) -> tuple[int, Iterator[msgspec.Raw]]:
    """Give the number of parts, at least two, of at most ``part_bytes`` each; and the parts, one by one."""
    view = memoryview(value)
    part_bytes = min(part_bytes, -(-len(view) // 2))
    starts = range(0, len(view), part_bytes)
    return len(starts), (msgspec.Raw(_encode(view[start : start + part_bytes])) for start in starts)


class Joiner:
    """Joins the parts of one value after the other; holds no more than a value may have."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._next = 0
        self._parts = 0

    @property
    def under_way(self) -> bool:
        """Whether a value was begun and is not whole yet."""
        return self._next > 0

    def add(self, part: int, parts: int, piece: bytes | msgspec.Raw) -> bool:
        """Take the next part. True: it was the last one, and ``take`` gives the value.

        Raises:
            BadEventError: it is not the next one, or no part.
        """
        if part != self._next or part >= parts or (part and parts != self._parts):
            self.drop()
            raise bad_event(f"part {part} of {parts} of a row where another one was expected")
        try:
            content = _decode(piece)
        except (msgspec.MsgspecError, ValueError) as error:
            self.drop()
            raise bad_event("a part of a row that is no bin") from error
        self._next, self._parts = part + 1, parts
        self._size_bytes += len(content)
        if too_large(self._size_bytes):
            self._pieces.clear()
        else:
            self._pieces.append(content)
        return self._next == parts

    def take(self) -> bytes | None:
        """Give the value; None where it is too large to be held."""
        value = None if too_large(self._size_bytes) else b"".join(self._pieces)
        self.drop()
        return value

    def drop(self) -> None:
        """Forget what was begun."""
        self._pieces = []
        self._size_bytes = self._next = self._parts = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(bytes).decode

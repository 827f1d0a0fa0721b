"""Where something stands in the stream of changes: (epoch, change id)."""

from __future__ import annotations

import re

import msgspec

from schemas.errors import UsageError

# Both numbers are SQLite integers, so at most 19 digits; \d alone would take digits of other scripts.
_PATTERN = re.compile(r"([0-9]{1,19}):([0-9]{1,19})", re.ASCII)
_LARGEST = 2**63 - 1


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A point in a source's history; later ones compare greater.

    ``epoch`` counts the unbroken lives of a change log, ``change_id`` its rows. Written ``EPOCH:ID`` in
    text, ``[epoch, change_id]`` where msgspec encodes it, and as `to_json` gives it in command output.
    """

    epoch: int
    change_id: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.change_id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read ``EPOCH:ID``.

        Raises:
            UsageError: the text is something else, or a number exceeds 64 bits.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is not None:
            epoch, change_id = int(match[1]), int(match[2])
            if epoch <= _LARGEST and change_id <= _LARGEST:
                return cls(epoch, change_id)
        raise UsageError("that is not a position", "write it as EPOCH:ID, for example 1:4711")

    def to_json(self) -> dict[str, int]:
        """Give the object that stands for a position in JSON output (CONTRACT "JSON values")."""
        return {"epoch": self.epoch, "change_id": self.change_id}

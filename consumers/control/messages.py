"""What is said over the control socket: one request a connection, a line of JSON each way."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Ping(msgspec.Struct, frozen=True, tag="ping", tag_field="command"):
    """Who is there?"""


class Status(msgspec.Struct, frozen=True, tag="status", tag_field="command"):
    """How does the node stand?"""


class Contents(msgspec.Struct, frozen=True, tag="contents", tag_field="command"):
    """What does the file hold? For those who may not open it themselves."""


class Pause(msgspec.Struct, frozen=True, tag="pause", tag_field="command"):
    """Stop applying, until resumed or started again."""


class Resume(msgspec.Struct, frozen=True, tag="resume", tag_field="command"):
    """Go on applying."""


class Rebuild(msgspec.Struct, frozen=True, tag="rebuild", tag_field="command"):
    """Load everything anew; answered when the cache has caught up."""

    origin: Literal["source", "kafka"] | None = None


class Reread(msgspec.Struct, frozen=True, tag="reread", tag_field="command"):
    """Have one table read anew, by every reader of the log."""

    table: str


class Hold(msgspec.Struct, frozen=True, tag="hold", tag_field="command"):
    """Stand still for a moment, and say where."""


class LetGo(msgspec.Struct, frozen=True, tag="let-go", tag_field="command"):
    """End a hold."""


class MendRow(msgspec.Struct, frozen=True):
    """One row as it is at the source: ``row`` is None where there is none, or it is ``unpublishable``."""

    table: str
    key: bytes
    row: bytes | None = None
    unpublishable: bool = False


class Mend(msgspec.Struct, frozen=True, tag="mend", tag_field="command"):
    """Put rows right that have no changes between the node's checkpoint and (epoch, change_id).

    Refused where the node is of another epoch, or beyond that position: what was read may be overtaken.
    """

    epoch: int
    epoch_nonce: int
    change_id: int
    rows: list[MendRow]


class Damaged(msgspec.Struct, frozen=True, tag="damaged", tag_field="command"):
    """A reader met a row whose check does not hold; noted, and mended soon."""

    table: str
    key: bytes


class RetryStored(msgspec.Struct, frozen=True, tag="retry-stored", tag_field="command"):
    """Try to apply what was stored of quarantined rows; of all of them where no key is given."""

    keys: list[bytes] | None = None


class Drop(msgspec.Struct, frozen=True, tag="drop", tag_field="command"):
    """Take the marks of quarantined rows away; of all of them where no key is given."""

    keys: list[bytes] | None = None


class ListQuarantined(msgspec.Struct, frozen=True, tag="quarantine", tag_field="command"):
    """The quarantined rows after a record key, a page of them."""

    after: bytes | None = None


Request = (
    Ping
    | Status
    | Contents
    | Pause
    | Resume
    | Rebuild
    | Reread
    | Hold
    | LetGo
    | Mend
    | Damaged
    | RetryStored
    | Drop
    | ListQuarantined
)


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer. ``working`` announces that another line will follow.

    Attributes:
        result: what was asked for.
        error: why it cannot be done, in one line, with its remedy and the exit code of its kind.
        overtaken: the node has gone on since what was read of the source.
        attended: whether a standing node answers; False from a one-shot command, which ends by itself.
    """

    working: bool = False
    result: Any = None
    error: str | None = None
    remedy: str = ""
    code: int = 1
    attended: bool = True
    overtaken: bool = False


encode = msgspec.json.encode
decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode

"""What a configuration says of one table: what is published of it, and what nodes do with it."""

from __future__ import annotations

import msgspec

from schemas.definition import Follow, KeyType  # noqa: TC001 -- msgspec resolves annotations at run time


class TableSettings(msgspec.Struct, frozen=True):
    """What of a table is published, and what nodes do with it; the defaults publish and keep everything.

    ``exclude`` are columns that are left out, ``hash`` those replaced by a keyed digest, ``where`` is an SQL
    condition on the row. The others are as in `schemas.definition.TableDefinition`.
    """

    exclude: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    where: str | None = None
    keep: int | None = None
    keep_by: str | None = None
    follow: Follow | None = None
    index: tuple[str, ...] = ()
    key_type: KeyType = "tuple"

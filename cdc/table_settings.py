"""What a configuration says of one table: what is published of it, and what nodes do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.definition import Follow, KeyType  # noqa: TC001 -- msgspec resolves annotations at run time
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def check_cycles(follows: Mapping[str, Follow]) -> None:
    """Refuse tables that follow each other.

    Raises:
        UsageError: there are such tables.
    """
    left = dict(follows)
    while left:
        free = [name for name, follow in left.items() if not set(follow.tables) & left.keys()]
        if not free:
            names = ", ".join(sorted(left))
            raise UsageError(f"follow goes in a circle: {names}", "let one of them follow none of the others")
        for name in free:
            del left[name]

"""``[preset.memory]``: the tables and limits of the episodic-memory application.

An agent's memory: episodes, the patterns and heuristics learnt from them, and the embeddings by which any of
these are found. The newest episodes are cached and whatever belongs to them; patterns and heuristics are few,
and cached whole. Tables that a database does not have (yet) are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import asdict, replace

from cdc import config_values as values
from cdc.bounds_section import read_keep
from cdc.config import SourceConfig, TableConfig
from cdc.identifiers import folded
from cdc.table_settings import TableSettings
from schemas.definition import Follow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PRESETS = ("memory",)
"""The presets that there are."""

BATCH_SIZE_MAX = 20_000
"""Rows a commit that can be asked for: more are hardly faster (`consumers.limits`)."""

EPISODES = "episodes"
LEARNT = ("patterns", "heuristics")
EMBEDDINGS = "embeddings"
RELATIONSHIPS = "episode_relationships"
_RELATIONSHIP = ("from_episode_id", "to_episode_id", "relationship_type")

_PLAIN = TableSettings()
_BY_TEXT = TableSettings(key_type="text")


class Memory(msgspec.Struct, frozen=True):
    """What ``[preset.memory]`` says.

    Attributes:
        max_episodes_cache: how many episodes are cached, the newest by their start.
        batch_size: rows that a node gathers for one commit, at most; a larger group is one commit still.
        sync_patterns: cache patterns and heuristics.
        sync_embeddings: cache the embeddings of what is cached.
    """

    max_episodes_cache: int = 1000
    batch_size: int = 100
    sync_patterns: bool = True
    sync_embeddings: bool = True

    def tables(self, listed: Collection[str] | None) -> dict[str, TableConfig]:
        """The application's tables, with what is cached of them; of those listed, if some are."""
        items = (EPISODES, *(LEARNT if self.sync_patterns else ()))
        settings: dict[str, TableSettings] = dict.fromkeys(items, _BY_TEXT)
        settings[EPISODES] = replace(_BY_TEXT, keep=self.max_episodes_cache, keep_by="start_time")
        if listed is not None:
            settings = {name: one for name, one in settings.items() if name in listed}
        if self.sync_embeddings and settings:
            settings[EMBEDDINGS] = replace(_BY_TEXT, follow=Follow(tuple(settings), "item_id"))
        tables = {name: TableConfig(settings=one) for name, one in settings.items()}
        tables[RELATIONSHIPS] = TableConfig(key_columns=_RELATIONSHIP)
        return {name: table for name, table in tables.items() if listed is None or name in listed}


def read_memory(value: object, path: str) -> Memory:
    """Read the section."""
    return Memory(**values.section(value, path, _MEMORY))


def with_preset(
    preset: Memory, source: SourceConfig | None, configured: Mapping[str, TableConfig]
) -> tuple[SourceConfig | None, dict[str, TableConfig], frozenset[str]]:
    """Put the application's tables under what is configured.

    Args:
        preset: what the section says.
        source: the configured source; where it lists no tables, those of the application are captured.
        configured: settings of single tables, which go before the preset's, key by key.

    Returns:
        The source, the settings by table, and the tables which the source need not have.
    """
    listed = None if source is None else source.tables
    tables = preset.tables(None if listed is None else {folded(name) for name in listed})
    # Whoever names a table in the configuration wants to hear that it is not there.
    named = {folded(name) for name in (*(listed or ()), *configured)}
    optional = frozenset(name for name in tables if folded(name) not in named)
    names = {folded(name): name for name in tables}
    for name, config in configured.items():
        known = tables.pop(names.get(folded(name), name), TableConfig())
        tables[name] = TableConfig(
            key_columns=config.key_columns or known.key_columns,
            settings=_over(known.settings, config.settings),
        )
    if source is not None and listed is None:
        source = replace(source, tables=tuple(tables))
    return source, tables, optional


def _over(preset: TableSettings, configured: TableSettings) -> TableSettings:
    plain = asdict(_PLAIN)
    said: dict[str, Any] = {key: value for key, value in asdict(configured).items() if value != plain[key]}
    return replace(preset, **said)


def _batch_size(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= BATCH_SIZE_MAX:
        raise values.wrong(path, f"a number of rows, 1 to {BATCH_SIZE_MAX}")
    return value


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise values.wrong(path, "true or false")
    return value


_MEMORY = {
    "max_episodes_cache": read_keep,
    "batch_size": _batch_size,
    "sync_patterns": _flag,
    "sync_embeddings": _flag,
}

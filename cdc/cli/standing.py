"""A process that writes a cache: its writer, what it knows of itself, and its control socket."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cdc.cli.parts import open_capture
from consumers.control.desk import Desk
from consumers.live import Live
from consumers.orders import Orders
from consumers.writer import CacheWriter

if TYPE_CHECKING:
    from cdc.config import Config


class WriterProcess:
    """What outlives the writer, which is opened again after a full disk, say.

    Args:
        config: of the node.
        kind: the command.
        lock_seconds: how long to wait for another writer to go.
        standing: it goes on until it is stopped, and does what it is asked for.
    """

    def __init__(self, config: Config, kind: str, lock_seconds: float, *, standing: bool = False) -> None:
        self._config = config
        self._lock_seconds = lock_seconds
        self.live = Live()
        self.orders = Orders()
        self.desk = Desk(
            kind,
            standing=standing,
            max_staleness_s=config.cache.max_staleness_s,
            reread=None if config.source is None else partial(order_reread, config),
        )

    def open_writer(self) -> CacheWriter:
        """The writing side of the node's cache, not opened yet."""
        cache = self._config.cache
        return CacheWriter(
            cache.path,
            cache.node,
            shared=cache.readers == "shared",
            check=cache.check == "open",
            lock_seconds=self._lock_seconds,
            commit_rows=cache.commit_rows,
            listener=self.desk,
            live=self.live,
            orders=self.orders,
        )


async def order_reread(config: Config, table: str) -> None:
    """Have one table read anew by every reader of the source's log.

    Raises:
        UsageError: it is not captured.
    """
    async with open_capture(config) as capture:
        async with capture.reading() as reader:
            reader.check_table(table)
        await capture.order_reread([table])

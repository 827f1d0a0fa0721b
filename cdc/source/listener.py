"""Hears of commits from sqld, which tells of inserts into a table by server-sent events (`/beta/listen`)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiohttp

from cdc.source.remote_limits import CONNECT_S_MAX, LISTEN_RETRY_S, LOOK_ANYWAY_S

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK: Final = 200
_SERVER_ERROR: Final = 500


class Listener:
    """Listens in the background from the first question on.

    Args:
        session: carries the credentials.
        url: the server's, with ``/beta/listen``.
        table: whose inserts to hear of.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, table: str) -> None:
        self._session = session
        self._url = url
        self._parameters: Mapping[str, str] = {"table": table, "action": "insert"}
        self._task: asyncio.Task[None] | None = None
        self._listening = False
        self._changed = True
        self._answered_s = 0.0

    def heard(self) -> bool:
        """Say whether anything may have been committed since the last call: True where that is unknown."""
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._listen())
        late = loop.time() >= self._answered_s + LOOK_ANYWAY_S
        changed, self._changed = self._changed or late or not self._listening, False
        if changed:
            self._answered_s = loop.time()
        return changed

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        """Listen until the server says that it has no such thing."""
        while True:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                if not await self._listen_once():
                    return
            self._listening = False
            self._changed = True
            await asyncio.sleep(LISTEN_RETRY_S)

    async def _listen_once(self) -> bool:
        """Listen until the connection ends; say whether to try again."""
        # Events may be hours apart.
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S_MAX)
        headers = {"Accept": "text/event-stream"}
        request = self._session.get(
            self._url, params=self._parameters, headers=headers, timeout=timeout, allow_redirects=False
        )
        async with request as response:
            if response.status != _OK or response.content_type != "text/event-stream":
                return response.status >= _SERVER_ERROR
            self._listening = True
            # Whatever was committed before may have gone unheard.
            self._changed = True
            async for _ in response.content.iter_any():
                self._changed = True
        return True

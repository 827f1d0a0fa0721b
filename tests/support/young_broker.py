"""A real broker whose first answers are those of one that has just started."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_METADATA = 3
_KEY_VERSION_ID = struct.Struct(">hhi")
_SIZE = struct.Struct(">i")
# Throttled for 0 ms, no brokers, a null cluster id, no controller, no topics: the same in versions 3 to 5.
_NOBODY_KNOWN = struct.pack(">iihii", 0, 0, -1, -1, 0)


@asynccontextmanager
async def young_broker(bootstrap: str, answers: int) -> AsyncIterator[str]:
    """An address where the first answers about the cluster name no broker, as while it is fenced.

    Later ones are the broker's, which tells its own address, so that clients go on without this.
    """
    left = answers

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        host, port = bootstrap.split(":")
        answer, ask = await asyncio.open_connection(host, int(port))
        try:
            while True:
                request = await _frame(reader)
                key, version, correlation_id = _KEY_VERSION_ID.unpack_from(request)
                if key == _METADATA and left > 0:
                    assert 3 <= version <= 5, version
                    left -= 1
                    writer.write(_framed(_SIZE.pack(correlation_id) + _NOBODY_KNOWN))
                else:
                    ask.write(_framed(request))
                    writer.write(_framed(await _frame(answer)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has what it wanted
        finally:
            ask.close()
            writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    return await reader.readexactly(size)


def _framed(message: bytes) -> bytes:
    return _SIZE.pack(len(message)) + message

"""Asks the process that writes a cache."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import msgspec

from consumers import limits
from consumers.control.address import listening_address
from consumers.control.messages import Reply, Request, decode_reply, encode
from consumers.mending import OvertakenError
from schemas.errors import CacheError, CdcError, ExitCode, GaveUpError, OperatorError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


class NoNodeError(CdcError):
    """No standing node listens: none runs, or what writes the cache is a one-shot command."""


_KINDS = {
    ExitCode.USAGE: UsageError,
    ExitCode.OPERATOR: OperatorError,
    ExitCode.GAVE_UP: GaveUpError,
    ExitCode.FAILED: CacheError,
}


async def ask(cache: Path, request: Request, timeout_s: float) -> Any:
    """Send one request to the node that writes ``cache`` and return its result.

    Args:
        cache: the cache file.
        request: what is asked.
        timeout_s: how long the node may be silent; while it works it says so.

    Raises:
        NoNodeError: nobody is there to be asked.
        GaveUpError: it was silent for too long.
        CdcError: what the node answers, with its own kind.
    """
    reply = await _exchange(cache, request, timeout_s)
    if reply.error is None:
        return reply.result
    if not reply.attended:
        raise NoNodeError(reply.error, reply.remedy)
    if reply.overtaken:
        raise OvertakenError(reply.error, reply.remedy)
    raise _KINDS.get(ExitCode(reply.code), CacheError)(reply.error, reply.remedy)


async def _exchange(cache: Path, request: Request, timeout_s: float) -> Reply:
    address = listening_address(cache)
    if address is None:
        raise _nobody(cache)
    try:
        reader, writer = await asyncio.open_unix_connection(address, limit=limits.CONTROL_REQUEST_BYTES_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        raise _nobody(cache) from None
    except PermissionError:
        raise UsageError(
            f"the node that writes {os.fspath(cache)} is another user's", "run this command as that user"
        ) from None
    except OSError as error:
        raise CacheError(f"the node does not answer: {error.strerror or error}", "see its log") from None
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(encode(request) + b"\n")
            await writer.drain()
        while True:
            async with asyncio.timeout(max(timeout_s, 2 * limits.CONTROL_WORKING_SECONDS)):
                reply = decode_reply(await reader.readuntil(b"\n"))
            if not reply.working:
                return reply
    except TimeoutError:
        raise GaveUpError(
            f"the node was silent for {timeout_s:g} s", "see its log, or try again with --timeout"
        ) from None
    except (OSError, asyncio.IncompleteReadError):
        raise CacheError("the node ended before it answered", "see its log, and try again") from None
    except (asyncio.LimitOverrunError, msgspec.DecodeError):
        raise CacheError(
            "the node answers what this version does not understand", "use one version"
        ) from None
    finally:
        writer.close()


def _nobody(cache: Path) -> NoNodeError:
    return NoNodeError(f"no node runs on the cache {os.fspath(cache)}", "start one: cdc run, or cdc consume")

"""``cache.verify_every``: a running node has its cache compared with the source now and then."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from cdc import limits
from consumers.live import Verified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cdc.config import Config
    from consumers.live import Live

_log = structlog.get_logger("cdc.verify")


@asynccontextmanager
async def verifying(config: Config, live: Live) -> AsyncIterator[None]:
    """Verify on schedule for the length of a block, where that is configured; ``live`` is told the results.

    Raises:
        UsageError: no source is configured.
    """
    every_s = config.cache.verify_every_s
    if every_s is None:
        yield
        return
    config.need_source()
    task = asyncio.create_task(_verify_for_ever(config, live, every_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _verify_for_ever(config: Config, live: Live, every_s: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await live.verify_soon.wait()
                # A repair comes in several batches.
                await asyncio.sleep(limits.VERIFY_SETTLE_SECONDS)
        live.verify_soon.clear()
        began = time.monotonic()
        try:
            async with asyncio.timeout(limits.VERIFY_SECONDS_MAX):
                found = await _verify_once(config)
        except TimeoutError:
            _log.warning("could not verify", reason=f"it took more than {limits.VERIFY_SECONDS_MAX:g} s")
            continue
        except (OSError, ValueError) as error:
            _log.warning("could not verify", reason=str(error))
            continue
        seconds = round(time.monotonic() - began, 1)
        live.verified(found, time.time())
        if found.equal:
            _log.info("verified: the cache is equal to its source", seconds=seconds)
        else:
            _log.error(
                "the cache differs from its source",
                tables=found.differences,
                seconds=seconds,
                remedy="run: cdc verify --repair",
            )


async def _verify_once(config: Config) -> Verified:
    """Compare in a child, which ends with this process, however that ends.

    Raises:
        ValueError: it failed; the message is what it said.
        OSError: it cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cdc.cli.verify_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=limits.VERIFY_OUTPUT_BYTES_MAX,
    )
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise ValueError("it has no pipes")
    try:
        child.stdin.write(msgspec.json.encode(_order(config)) + b"\n")
        await child.stdin.drain()
        # Neither is long: what differs is only counted.
        out, err = await asyncio.gather(
            child.stdout.read(limits.VERIFY_OUTPUT_BYTES_MAX),
            child.stderr.read(limits.VERIFY_OUTPUT_BYTES_MAX),
        )
        code = await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        child.stdin.close()
    if code:
        lines = err.decode(errors="replace").strip().splitlines()
        raise ValueError(lines[-1].removeprefix("error: ") if lines else f"it ended with {code}")
    return msgspec.json.decode(out, type=Verified)


def _order(config: Config) -> dict[str, str | float | None]:
    kafka = config.kafka
    return {
        "file": None if config.file is None else str(config.file),
        "source": config.need_source().url,
        "cache": str(config.cache.path),
        "node": config.cache.node,
        "bootstrap_servers": None if kafka is None else kafka.bootstrap_servers,
        "topic": None if kafka is None else kafka.topic,
        "timeout_s": limits.VERIFY_REACH_SECONDS,
    }

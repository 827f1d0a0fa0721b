"""``cdc uninstall``: leaves nothing of ours at the source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result
from cdc.cli.parts import open_capture
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async

if TYPE_CHECKING:
    from cdc.capture import Capture


def uninstall(*, common: Common = DEFAULTS) -> None:
    """Remove the change log and all triggers from the source."""
    removed = run_async(until_reached(partial(_uninstall, open_capture(common.load())), common.timeout_s))
    print_result(
        common, {"removed": removed}, "capture is removed" if removed else "there was nothing to remove"
    )


async def _uninstall(capture: Capture) -> bool:
    async with capture:
        return await capture.uninstall()

"""``cdc resume``: a paused node goes on."""

from __future__ import annotations

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.pause import tell
from consumers.control import messages


def resume(*, common: Common = DEFAULTS) -> None:
    """Have the paused node go on applying."""
    tell(common, messages.Resume(), "resumed")

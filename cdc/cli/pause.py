"""``cdc pause``: a running node stops applying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result
from cdc.cli.running import run_async
from consumers.control import messages
from consumers.control.client import ask

if TYPE_CHECKING:
    from consumers.control.messages import Request


def pause(*, common: Common = DEFAULTS) -> None:
    """Have the running node stop applying, until it is resumed or started again; readers are served."""
    tell(common, messages.Pause(), "paused")


def tell(common: Common, request: Request, done: str) -> None:
    """Sends the node one request that says how it stands afterwards, and prints that."""
    state: dict[str, Any] = run_async(ask(common.load().cache.path, request, common.timeout_s))
    document = {"paused": state["paused"], "state": state["state"], "position": state["position"]}
    position = state["position"]
    at = "nowhere" if position is None else f"at {position['epoch']}:{position['change_id']}"
    print_result(common, document, f"{done}: the cache stands {at}")

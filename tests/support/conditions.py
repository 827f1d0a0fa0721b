"""Waiting for what must become true, with a limit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = 0.02

_Result = TypeVar("_Result")


def wait_until(condition: Callable[[], _Result], limit_s: float, what: str) -> _Result:
    """Return the condition's value once it is true.

    Args:
        condition: asked again and again; it may raise what must end the test at once.
        limit_s: how long it may take.
        what: names the condition in the failure.
    """
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(_PAUSE_S)
    return value

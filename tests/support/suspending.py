"""Stopping a process in the middle of whatever it does."""

from __future__ import annotations

import os
import signal


def suspend(child: int) -> None:
    """SIGSTOP to a child process; returns when every thread of it stands still, or it has ended.

    A signal that was sent is not one that was taken: another core may run a thread for a moment longer.
    """
    os.kill(child, signal.SIGSTOP)
    os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

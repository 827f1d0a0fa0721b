"""Looks at every node's cache all the time, as any reader could, and fails at the first torn state."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Self

from tests.support.bank import check_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.deployment import Deployment

_LIMIT_S = 120.0


class Watcher:
    """A thread that dumps the nodes in turn; use as ``with``, and ask `dumps` for its findings.

    A dump must be a committed state of the bank, and never an older one than the same node has shown before.
    """

    def __init__(self, deployment: Deployment, nodes: Sequence[str]) -> None:
        self._deployment = deployment
        self._nodes = nodes
        self._shown: dict[str, dict[str, int]] = {}
        self._dumps = 0
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_LIMIT_S)

    @property
    def dumps(self) -> int:
        """How many dumps were whole; raises what was wrong with one."""
        if self._failure is not None:
            raise self._failure
        return self._dumps

    def saw(self, nodes: Sequence[str]) -> bool:
        """Whether each of the nodes has shown something."""
        return self.dumps > 0 and self._shown.keys() >= set(nodes)

    def _run(self) -> None:
        try:
            for node in itertools.cycle(self._nodes):
                if self._stop.is_set():
                    return
                self._look(node)
        except BaseException as error:  # noqa: BLE001 -- shown by whoever asks for the number of dumps
            self._failure = error

    def _look(self, node: str) -> None:
        lines = self._deployment.dump(node)
        before = self._shown.get(node)
        if lines is None:
            assert before is None, f"{node} shows nothing any more"
            return
        turns = check_whole(lines)
        if before is not None:
            older = [writer for writer, turn in turns.items() if turn < before[writer]]
            assert not older, f"{node} went back: {before} to {turns}"
        self._shown[node] = turns
        self._dumps += 1

"""How much memory a run takes: this process and those it has started, looked at a few times a second while the run goes on."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

__all__ = ["PeakMemory"]

_LOOK_EVERY_S = 0.2


class PeakMemory:
    """Watches the resident memory of this process and its children, all together.

    Pages that several processes share count once for each: libraries, and what forks of one process have inherited. The system takes back
    pages that are mapped from files, so `num_bytes` is an upper bound of what a machine must have. What comes and goes between two looks
    is not seen, and neither are processes on other machines or those of a Ray cluster that this process did not start.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        """most resident bytes of all processes together"""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="peak memory")

    def __enter__(self) -> PeakMemory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        me = psutil.Process()
        resident = 0
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it may have ended since
                resident += process.memory_info().rss
        self.num_bytes = max(self.num_bytes, resident)

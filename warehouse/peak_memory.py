"""How much memory a run takes: this process and those it has started, looked at a few times a second while the run goes on."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

__all__ = ["PeakMemory"]

_LOOK_EVERY_S = 0.2


class PeakMemory:
    """Watches the resident memory of this process and its children, of all together and without what they map from files.

    Pages mapped from files, libraries among them, count once for each process that has touched them, and the system takes them back where
    memory is short; so `num_bytes` is an upper bound of what a machine must have and `num_own_bytes` a lower one. What comes and goes
    between two looks is not seen, and neither are processes on other machines or those of a Ray cluster that this process did not start.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        """most resident bytes of all processes together"""
        self.num_own_bytes = 0
        """the most of that without pages mapped from files"""
        self.largest_child_bytes = 0
        """most resident bytes of one child"""
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
        resident = own = 0
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it may have ended since
                memory = process.memory_info()
                resident += memory.rss
                own += memory.rss - getattr(memory, "shared", 0)
                if process != me:
                    self.largest_child_bytes = max(self.largest_child_bytes, memory.rss)
        self.num_bytes, self.num_own_bytes = max(self.num_bytes, resident), max(self.num_own_bytes, own)

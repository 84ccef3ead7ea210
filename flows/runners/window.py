"""Items that run at once: a bounded number is begun and not yet handed on, and whichever ends makes room for the next.

Only what ends is waited for. An item that has to be tried again rests meanwhile, and holds nobody up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

__all__ = ["Again", "Try", "Window"]

Item = TypeVar("Item")
_END: Any = object()


@dataclass(frozen=True, slots=True)
class Again:
    """An item is to be tried again."""

    after_s: float = 0.0


@dataclass(slots=True)
class Try(Generic[Item]):
    """One of the tries of an item."""

    item: Item
    place: int
    """among all items, from 0"""
    num_lost: int = 0
    """tries before it whose worker was lost"""
    num_short: int = 0
    """tries before it that found no memory"""

    def after_loss(self, pauses_s: Sequence[float]) -> Again | None:
        """Another try after the next of these pauses; None once all have been made."""
        if self.num_lost == len(pauses_s):
            return None
        self.num_lost += 1
        return Again(pauses_s[self.num_lost - 1])


@dataclass(slots=True)
class Window(Generic[Item]):
    """How items are begun, waited for and judged; handles are whatever the machinery beneath gives, and can be hashed."""

    most: int
    """items begun and not yet handed on"""
    begin: Callable[[Item], Any]
    """gives a handle"""
    ended: Callable[[list[Any], float | None], Iterable[Any]]
    """waits until one of these handles has ended, or for so many seconds; gives those that have"""
    judge: Callable[[Try[Item], Any], Any]
    """what came of a try, or `Again`"""
    running: dict[Any, Try[Item]] = field(default_factory=dict)

    def outcomes(self, items: Iterable[Item], *, in_order: bool) -> Iterator[tuple[int, Any]]:
        """Yield the place and the outcome of each item, as they end or in order; what waits for its turn counts as not handed on."""
        places, remaining = 0, iter(items)
        resting: list[tuple[float, Try[Item]]] = []
        held: dict[int, Any] = {}
        head = 0
        while True:
            now = time.monotonic()
            for rest in [rest for rest in resting if rest[0] <= now]:
                resting.remove(rest)
                self.running[self.begin(rest[1].item)] = rest[1]
            while len(self.running) + len(resting) + len(held) < self.most and (item := next(remaining, _END)) is not _END:
                self.running[self.begin(item)] = Try(item, places)
                places += 1
            if not self.running and not resting:
                return
            for handle in self._wait(min((due for due, _ in resting), default=None)):
                tried = self.running.pop(handle)
                outcome = self.judge(tried, handle)
                if isinstance(outcome, Again):
                    resting.append((time.monotonic() + outcome.after_s, tried))
                elif in_order:
                    held[tried.place] = outcome
                else:
                    yield tried.place, outcome
            while head in held:
                yield head, held.pop(head)
                head += 1

    def _wait(self, until: float | None) -> Iterable[Any]:
        left_s = None if until is None else max(0.0, until - time.monotonic())
        if self.running:
            return self.ended(list(self.running), left_s)
        time.sleep(left_s or 0.0)
        return ()

"""What one command, or one flow, did: counted by the stages while they work, read when it ends.

Whoever wants to know opens `tallied()`; the stages then add to the tally of the context they run in. Without one nothing is counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["StageTally", "Tally", "current_tally", "tallied"]


@dataclass(slots=True, kw_only=True)
class StageTally:
    """The runs of one stage, added up."""

    num_complete: int = 0
    num_failed: int = 0
    num_reused: int = 0
    """found done by an earlier command, and not done again"""
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    """what the runs report: counts (num_...) are summed, of the rest the last value stays"""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was done so far, and what was not."""

    stages: dict[str, StageTally] = field(default_factory=dict)
    run_ids: list[str] = field(default_factory=list)
    """ids of the committed runs"""
    facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """what is in no run, such as the counts `files` of ingest, or the `checks` of a lake against thresholds"""
    not_done: list[str] = field(default_factory=list)
    """shortfalls in words: files left, fewer images than asked for, no audit"""

    def stage(self, name: str) -> StageTally:
        """Of that stage; a new one counts nothing yet."""
        return self.stages.setdefault(name, StageTally())

    def ran(self, stage: str, run_id: str, *, seconds: float, metrics: Mapping[str, float], has_failed: bool = False) -> None:
        """Count a run that has ended."""
        of_stage = self.stage(stage)
        of_stage.seconds += seconds
        if has_failed:
            of_stage.num_failed += 1
            return
        of_stage.num_complete += 1
        self.run_ids.append(run_id)
        for name, value in metrics.items():
            of_stage.metrics[name] = of_stage.metrics.get(name, 0) + value if name.startswith("num_") else value

    def reused(self, stage: str) -> None:
        """Count a run that was not needed because its result is there."""
        self.stage(stage).num_reused += 1


_current: ContextVar[Tally | None] = ContextVar("tally", default=None)


def current_tally() -> Tally:
    """The tally of this context; one that nobody reads where none is open."""
    return _current.get() or Tally()


@contextlib.contextmanager
def tallied() -> Iterator[Tally]:
    """Count what is done inside."""
    tally = Tally()
    token = _current.set(tally)
    try:
        yield tally
    finally:
        _current.reset(token)

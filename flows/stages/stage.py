"""A stage of the pipeline as a record, and what the stages hand on to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config import RunConfig
from flows.stages.costs import Formula

if TYPE_CHECKING:  # loading these takes a second
    from curation.holdout import HoldoutList
    from flows.job import Job
    from warehouse.plan_sizes import FormerRun
    from warehouse.records import Artifact, Dataset, EmbeddingPart

__all__ = ["Made", "Stage", "needed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the stages have made so far."""

    encoder_id: str = ""
    parts: tuple[EmbeddingPart, ...] = ()
    """vectors of that encoder, read once, so that all stages of one curation see the same"""
    held_out: HoldoutList | None = None
    """what is named to hold out, of which every file is read once"""
    holdout: Artifact | None = None
    clips: Artifact | None = None
    """vectors of clips, if these are curated and not frames; `parts` are theirs then"""
    scores: Artifact | None = None
    dedup: Artifact | None = None
    tree: Artifact | None = None
    placement: Artifact | None = None
    """of frames that are new since the tree was made, if there are any"""
    selection: Artifact | None = None
    datasets: tuple[Dataset, ...] = ()
    """the largest first"""
    dataset: str = ""
    """name of the one to train on"""
    pretraining: str = ""
    """id of the run"""
    report: Path | None = None


def needed(artifact: Artifact | None) -> Artifact:
    """What a stage before made: the order sees to it that it is there."""
    assert artifact is not None
    return artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the pipeline."""

    name: str
    """as its runs are named in the lake"""
    command: str
    """that does it: a command of `endoforge`, and a task of Prefect's"""
    takes: tuple[str, ...]
    """its settings, as fields of `RunConfig`"""
    needs: tuple[str, ...] = ()
    """stages whose results it reads"""
    run: Callable[[Job, RunConfig, Made], Made]
    """do it, or find that it is done"""
    find: Callable[[Job, RunConfig, Made], Made | None] | None = None
    """what is recorded of it; None if it is to be done"""
    cost: Formula | None = None
    frames: str = ""
    """the metric of its runs that counts the frames they worked on"""
    has_workers: bool = True
    """whether it starts workers, whatever its size"""
    each_size: bool = False
    """done once for each size of dataset, with that as the only one"""
    is_wanted: Callable[[RunConfig], bool] = lambda config: True
    """whether the settings ask for it"""
    check: Callable[[RunConfig], None] = lambda config: None
    """refuse settings with which it would fail, before any work; nothing is made"""

    @property
    def fixed_s(self) -> float:
        """Seconds that it takes whatever its size: plans are looked up, workers start, a transaction is committed."""
        return 3.0 if self.has_workers else 1.0

    def frames_of(self, run: FormerRun) -> int:
        """How many frames one of its runs worked on; 0 if that was not recorded."""
        return int(run.metrics.get(self.frames, 0))

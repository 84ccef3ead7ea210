"""Says signs of collapse and plateaus while a run trains: on the terminal, and as `watch/...` in its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from pretrain.metrics import read_metrics
from pretrain.notices import note, notices_after
from pretrain.watch import Limits, Watch, watch

__all__ = ["Watcher", "limits_of", "rows_by_step"]

_FEWEST_STEPS = 50


class Watcher:
    """Sees each row of metrics of a run."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        """Go through the rows that an interrupted run left, without saying anything.

        Args:
            run_dir: of the run, its metrics cut to the checkpoint that training goes on from.
            config: of the run, as nested plain values.
        """
        self._run_dir, self._limits, self._state = run_dir, limits_of(config), Watch()
        for step, row in rows_by_step(read_metrics(run_dir / "metrics.jsonl")):
            self._state, _ = watch(self._state, step, row, self._limits)

    def __call__(self, step: int, row: Mapping[str, float]) -> dict[str, float]:
        """Say what a row is a sign of, and return it as metrics; a sentence that a killed run has said is not said again."""
        self._state, signs = watch(self._state, step, row, self._limits)
        for sign in signs:
            if sign.sentence not in notices_after(self._run_dir, 0)[0]:
                note(self._run_dir, sign.sentence)
        return {f"watch/{sign.kind}": 1.0 for sign in signs}


def limits_of(config: Mapping[str, Any]) -> Limits:
    """When something is a sign in a run of these settings, as nested plain values."""
    return Limits(
        num_prototypes=config["dino_head"]["num_prototypes"],
        from_step=config["optim"]["warmup_steps"],
        patience=max(_FEWEST_STEPS, config["train"]["num_steps"] // 20),
    )


def rows_by_step(rows: Iterable[tuple[int, str, float]]) -> Iterator[tuple[int, dict[str, float]]]:
    """Metrics by name for each step, in the order of steps."""
    for step, group in groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(0)):
        yield step, {name: value for _, name, value in group}

"""The end of a run in a few lines: what was kept, what not and why, what the model is worth, where everything is, what to type next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from evaluation.report import beside_baselines
from warehouse.lake import Lake
from warehouse.run_end import RunEnd, run_end
from warehouse.summary import scores_of_pretraining

__all__ = ["run_in_words"]

_FEW_IMAGES = 100_000
"""Fewer than any published endoscopy model of this kind was trained on."""
_MOST_NAMES = 5


def run_in_words(lake: Lake, run_id: str, report: Path) -> list[str]:
    """The lines; none if the lake has no chosen checkpoint of that run.

    Args:
        lake: of the run.
        run_id: of the pretraining.
        report: path of its report.
    """
    found = run_end(lake, run_id)
    if found is None:
        return []
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in found.dropped)
    held = f"; {found.num_held_out:,} frames held out" if found.num_held_out else ""
    boxed = f"; something is blacked out in {found.num_boxed:,} of the kept" if found.num_kept else ""
    return [
        f"frames   {found.num_kept:,} of {found.num_sampled:,} kept{f'; dropped: {dropped}' if dropped else ''}{boxed}",
        *_rejects(found.rejects),
        f"dataset  {found.dataset}: {found.num_images:,} images in {found.num_shards:,} tars, {lake.root / found.dataset_path}{held}",
        f"model    {_model(lake, run_id, found)}",
        f"files    report {report}; weights {lake.root / found.checkpoint_path}",
        f"next     `endoforge atlas --lake {lake.root}`",
        f"         `endoforge privacy-audit --lake {lake.root} --dataset {found.dataset}`",
        f"         `endoforge export-model {run_id} --lake {lake.root} --out model`",
    ]


def _rejects(rejects: Sequence[tuple[str, str]]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for uri, reason in rejects:
        names[reason].append(uri.rpartition("/")[2])
    lines = []
    for place, (reason, files) in enumerate(sorted(names.items(), key=lambda item: (-len(item[1]), item[0]))):
        more = f" and {len(files) - _MOST_NAMES:,} more" if len(files) > _MOST_NAMES else ""
        lines.append(f"{'' if place else 'rejects':<8} {len(files):,} {reason}: {', '.join(files[:_MOST_NAMES])}{more}")
    return lines


def _model(lake: Lake, run_id: str, found: RunEnd) -> str:
    """The chosen checkpoint, how it stands beside its baselines, and whether it has seen enough to be of use."""
    scores = scores_of_pretraining(lake, run_id)
    own = (found.checkpoint_id,)
    baselines = sorted({score.model for score in scores if score.model_id not in own and score.model != "no picture"}, reverse=True)
    said = [f"{run_id} step {found.step} of {found.num_steps}, {found.validation_metric} {found.validation_score:.3f}"]
    said.append(beside_baselines(scores, own, baselines) or "nothing was scored, so nobody knows what it is worth")
    if found.num_images < _FEW_IMAGES:
        passes = found.num_steps * found.batch_size / max(1, found.num_images)
        seen = f"{passes:,.0f} times" if passes >= 1 else "less than once each"
        said.append(f"{found.num_images:,} images, seen {seen}, are too few to learn a useful model from: take it as a trial")
    return "; ".join(said)

"""Stage run: clustered frames to the frames of a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from curation.selection import SELECT_VERSION, select_frames
from flows.config import RunConfig
from flows.job import Job
from flows.runners import say, say_undone
from flows.stages.pool import export_clustered, what
from flows.stages.stage import Made, needed
from warehouse import queries
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, RunRecorder, plan_run
from warehouse.records import Artifact

__all__ = ["plan_select", "run_select"]


def plan_select(lake: Lake, config: RunConfig, made: Made) -> RunPlan:
    """Name the selection: the tree alone does not say which frames there are, for new ones are placed in it, and some of its own go."""
    settings = {**asdict(config.sample), "size": config.curate.size, "seed": config.seed}
    if config.sample.reads_metadata:
        settings["metadata"] = queries.metadata_state(lake)
    inputs = [needed(made.tree), needed(made.dedup), *([made.placement] if made.placement else [])]
    return plan_run(stage="select", version=SELECT_VERSION, config=settings, inputs=inputs, seed=config.seed)


def run_select(job: Job, run: RunRecorder, work: Path, config: RunConfig, made: Made) -> Artifact:
    """Draw frames that a deduplication has kept, balanced over the clusters; returns the selection.

    Raises:
        ValueError: a weight names what no frame has.
    """
    size, clustered = config.curate.size, work / "clustered.parquet"
    num_candidates = export_clustered(job.lake, made, clustered)
    selection, counts = select_frames(
        clustered,
        made.parts,
        lake_root=job.lake.root,
        out=work / "selection.parquet",
        size=size,
        config=config.sample,
        seed=config.seed,
    )
    run.named_rows("selections", "selection_id", selection.artifact_id, work / "selection.parquet")
    run.metrics.update(num_candidates=num_candidates, num_selected=selection.num_rows or 0, **counts)
    asked = "clips" if made.clips else "images"
    for kind in ("patient", "site", "device"):
        if unknown := counts.get(f"num_unknown_{kind}"):
            say(f"select: the {kind} of {unknown} {what(made)} is unknown, so max-per-{kind} does not limit them")
    if counts["num_allowed"] < min(size, num_candidates):
        say_undone(
            f"select: {size} {asked} were asked for and the caps allow {counts['num_allowed']} of {num_candidates} candidates: "
            "all are taken"
        )
    elif num_candidates < size:
        say_undone(f"select: {size} {asked} were asked for and there are {num_candidates} candidates: all are taken")
    else:
        say(f"select: {selection.num_rows} of {num_candidates} {what(made)}, balanced over the clusters")
    return selection

"""Stage run: clustered frames to the frames of a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from curation.curate_config import SampleConfig
from curation.select import SELECT_VERSION, select_frames
from flows.job import Job
from flows.progress import say
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import plan_run
from warehouse.records import Artifact

__all__ = ["run_select"]


def run_select(
    job: Job, *, tree: Artifact, placement: Artifact | None, dedup: Artifact, work: Path, size: int, config: SampleConfig, seed: int
) -> Artifact:
    """Draw `size` of the frames that a deduplication has kept, balanced over the clusters; returns the selection.

    The tree alone does not say which frames there are to choose from: new ones are placed in it, and some of its own go.
    """
    settings = {**asdict(config), "size": size, "seed": seed}
    inputs = [tree, dedup] if placement is None else [tree, dedup, placement]
    plan = plan_run(stage="select", version=SELECT_VERSION, config=settings, inputs=inputs, seed=seed)
    if done := job.done(plan, "selection"):
        return done
    with job.record(plan) as run:
        num_candidates = queries.export_clustered(job.lake, tree.artifact_id, dedup.artifact_id, work / "clustered.parquet")
        selection = select_frames(
            work / "clustered.parquet", tree.artifact_id, out=work / "selection.parquet", size=size, config=config, seed=seed
        )
        artifact = artifact_of(selection)
        if not queries.is_recorded(job.lake, "selections", "selection_id", selection.selection_id):
            run.parts("selections", [work / "selection.parquet"])
        run.output(artifact)
        run.metrics.update(num_candidates=num_candidates, num_selected=selection.num_frames)
    if num_candidates < size:
        say(f"select: {size} images were asked for and there are {num_candidates} candidates: all are taken")
    else:
        say(f"select: {selection.num_frames} of {num_candidates} frames, balanced over the clusters")
    return artifact

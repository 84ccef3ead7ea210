"""Stage run: clustered frames to the frames of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from curation.selection import SELECT_VERSION, SampleConfig, select_frames
from flows.job import Job
from flows.runners import say
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, plan_run
from warehouse.records import Artifact, EmbeddingPart

__all__ = ["plan_select", "run_select"]


def plan_select(
    lake: Lake, *, tree: Artifact, placement: Artifact | None, dedup: Artifact, size: int, config: SampleConfig, seed: int
) -> RunPlan:
    """Name the selection: the tree alone does not say which frames there are, for new ones are placed in it, and some of its own go."""
    settings = {**asdict(config), "size": size, "seed": seed}
    if config.reads_metadata:
        settings["metadata"] = queries.metadata_state(lake)
    inputs = [tree, dedup] if placement is None else [tree, dedup, placement]
    return plan_run(stage="select", version=SELECT_VERSION, config=settings, inputs=inputs, seed=seed)


def run_select(
    job: Job,
    *,
    tree: Artifact,
    placement: Artifact | None,
    dedup: Artifact,
    parts: Sequence[EmbeddingPart],
    work: Path,
    size: int,
    config: SampleConfig,
    seed: int,
) -> Artifact:
    """Draw `size` of the frames that a deduplication has kept, balanced over the clusters; returns the selection.

    Raises:
        ValueError: a weight names what no frame has.
    """
    plan = plan_select(job.lake, tree=tree, placement=placement, dedup=dedup, size=size, config=config, seed=seed)
    if done := job.done(plan, "selection"):
        return done
    with job.record(plan) as run:
        num_candidates = queries.export_clustered(job.lake, tree.artifact_id, dedup.artifact_id, work / "clustered.parquet")
        selection, counts = select_frames(
            work / "clustered.parquet",
            tree.artifact_id,
            parts,
            lake_root=job.lake.root,
            out=work / "selection.parquet",
            size=size,
            config=config,
            seed=seed,
        )
        artifact = artifact_of(selection)
        if not queries.is_recorded(job.lake, "selections", "selection_id", selection.selection_id):
            run.parts("selections", [work / "selection.parquet"])
        run.output(artifact)
        run.metrics.update(num_candidates=num_candidates, num_selected=selection.num_frames, **counts)
    for kind in ("patient", "site", "device"):
        if unknown := counts.get(f"num_unknown_{kind}"):
            say(f"select: the {kind} of {unknown} frames is unknown, so max-per-{kind} does not limit them")
    if counts["num_allowed"] < min(size, num_candidates):
        say(
            f"select: {size} images were asked for and the caps allow {counts['num_allowed']} of {num_candidates} candidates: all are taken"
        )
    elif num_candidates < size:
        say(f"select: {size} images were asked for and there are {num_candidates} candidates: all are taken")
    else:
        say(f"select: {selection.num_frames} of {num_candidates} frames, balanced over the clusters")
    return artifact

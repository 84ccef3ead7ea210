"""Stage runs: the candidates to their scores against each other, and by these to those that are no duplicates of others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from curation.clustering import Map
from curation.dedup import (
    DEDUP_VERSION,
    SIMILARITY_VERSION,
    DedupConfig,
    collect_similarities,
    decide_duplicates,
    prepare_search,
    search_clusters,
    search_hashes,
)
from flows.config import RunConfig
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.pool import candidates_state, export_candidates, what
from flows.stages.stage import Made, needed
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, RunRecorder, plan_run
from warehouse.records import Artifact
from warehouse.requalification import effective_requalification
from warehouse.similarities import dedup_funnel, export_similarities

__all__ = ["plan_dedup", "plan_similarity", "run_dedup", "run_dedup_alone", "run_similarity", "without_dataset"]


def plan_similarity(lake: Lake, config: RunConfig, made: Made) -> RunPlan:
    """Name the search: by its settings and the candidates there are."""
    settings = {
        **config.dedup.search(),
        "seed": config.seed,
        "candidates": candidates_state(lake, made),  # parts hold other frames too, and candidates come and go
    }
    vectors = [made.clips] if made.clips else list(map(artifact_of, made.parts))
    inputs = [*vectors, *effective_requalification(lake), *_held_out(made)]
    return plan_run(stage="similarity", version=SIMILARITY_VERSION, config=settings, inputs=inputs, seed=config.seed)


def run_similarity(job: Job, run: RunRecorder, work: Path, config: RunConfig, made: Made) -> Artifact:
    """Search the candidates for copies, look-alikes and similar frames; returns the scores, which hold for every threshold.

    What is held out is no candidate.
    """
    folder, candidates, out = work / "search", work / "candidates.parquet", work / "similarities.parquet"
    holdout_id = made.holdout.artifact_id if made.holdout else None
    num_frames = export_candidates(job.lake, made, candidates, holdout_id=holdout_id)
    if not num_frames:
        raise ValueError("every candidate is held out, so there is nothing to curate; the view holdout_matches says by what")
    with job.runner.reuse_workers():
        search = prepare_search(
            candidates,
            made.parts,
            lake_root=job.lake.root,
            folder=folder,
            config=config.dedup,
            seed=config.seed,
            run_map=_on_workers(job, "assign to clusters"),
        )
        say(
            f"similarity: {search.num_frames} {what(made)} in {search.num_clusters} clusters, the largest of {search.largest_cluster}: "
            f"{search.num_pairs:,} pairs to compare"
        )
        cosines = list(_on_workers(job, "compare clusters")(search_clusters, search.segments, folder=str(folder)))
        compare_hashes = _on_workers(job, "compare hashes")
        hashes = list(compare_hashes(search_hashes, search.hash_shares, folder=str(folder), radius=config.dedup.dedup_hash_radius))
    similarity_id = collect_similarities(candidates, folder=folder, cosines=[name for _, name in cosines], tables=hashes, out=out)
    shutil.rmtree(folder)
    run.named_rows("similarities", "similarity_id", similarity_id, out)
    run.metrics.update(num_frames=num_frames, num_clusters=search.num_clusters, num_pairs=search.num_pairs)
    return Artifact(artifact_id=similarity_id, kind="similarity", uri="tables/main/similarities", num_rows=num_frames)


def plan_dedup(lake: Lake, config: RunConfig, made: Made) -> RunPlan:
    """Name the decision."""
    inputs = [needed(made.scores), *_held_out(made)]
    return plan_run(stage="dedup", version=DEDUP_VERSION, config=config.dedup.decision(), inputs=inputs)


def run_dedup(job: Job, run: RunRecorder, work: Path, config: RunConfig, made: Made) -> Artifact:
    """Decide which candidates are left out as duplicates; returns the deduplication, `num_rows` of which are candidates."""
    num_frames = export_similarities(job.lake, needed(made.scores).artifact_id, work / "similarities.parquet")
    dedup_id, by_kind = decide_duplicates(work / "similarities.parquet", out=work / "dedup.parquet", config=config.dedup)
    run.named_rows("dedup", "dedup_id", dedup_id, work / "dedup.parquet")
    run.metrics.update(num_frames=num_frames, num_duplicates=sum(by_kind.values()), **by_kind)
    say(
        f"dedup: {num_frames} {what(made)}, left out as duplicates of others: {by_kind['exact']} copies, "
        f"{by_kind['perceptual']} look-alikes, "
        f"{by_kind['semantic']} similar; {num_frames - sum(by_kind.values())} unique"
    )
    return Artifact(artifact_id=dedup_id, kind="dedup", uri="tables/main/dedup", num_rows=num_frames)


def run_dedup_alone(job: Job, *, encoder_id: str, config: DedupConfig, seed: int) -> str:
    """Decide which candidates are duplicates, with no dataset in view; returns the funnel as text."""
    made = without_dataset(job, ("similarity", "dedup"), encoder_id=encoder_id, config=config, seed=seed)
    rows = dedup_funnel(job.lake, needed(made.dedup).artifact_id)
    width = max(len(step) for step, _ in rows)
    return "\n".join(f"{step:<{width}}  {count:>12,}" for step, count in rows)


def without_dataset(job: Job, names: Sequence[str], *, encoder_id: str, config: DedupConfig, seed: int) -> Made:
    """What these stages make of all candidates; what is recorded already is not done again."""
    from flows.stages.order import STAGES, run_stages

    made = Made(encoder_id=encoder_id, parts=queries.embedding_parts(job.lake, encoder_id))
    settings = RunConfig(lake=job.lake.root, dedup=config, seed=seed)
    return run_stages([stage for stage in STAGES if stage.name in names], job, settings, made)


def _held_out(made: Made) -> list[Artifact]:
    return [made.holdout] if made.holdout else []


def _on_workers(job: Job, description: str) -> Map:
    """The runner for items of which none may fail."""

    def run_map(function: Any, items: Sequence[Any], **shared: Any) -> Iterable[Any]:
        found = job.runner.map(function, items, **shared)
        return track(successes(found, stage="similarity"), description=description, total=len(items))

    return run_map

"""Stage runs: the candidates to their scores against each other, and by these to those that are no duplicates of others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
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
from curation.sources import scratch_folder
from flows.job import Job
from flows.runners import say, successes, track
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, plan_run
from warehouse.records import Artifact, EmbeddingPart
from warehouse.requalification import effective_requalification
from warehouse.similarities import dedup_funnel, export_similarities

__all__ = ["plan_dedup", "plan_similarity", "run_dedup", "run_dedup_alone", "run_similarity", "searched"]


def plan_similarity(
    lake: Lake, *, parts: Sequence[EmbeddingPart], config: DedupConfig, seed: int, holdout: Artifact | None = None
) -> RunPlan:
    """Name the search: by its settings and the candidates there are."""
    settings = {
        **config.search(),
        "seed": seed,
        "candidates": queries.candidates_state(lake, parts[0].encoder_id),  # parts hold other frames too, and candidates come and go
    }
    inputs = [*map(artifact_of, parts), *effective_requalification(lake), *([holdout] if holdout else [])]
    return plan_run(stage="similarity", version=SIMILARITY_VERSION, config=settings, inputs=inputs, seed=seed)


def plan_dedup(*, scores: Artifact, config: DedupConfig, holdout: Artifact | None = None) -> RunPlan:
    """Name the decision."""
    return plan_run(stage="dedup", version=DEDUP_VERSION, config=config.decision(), inputs=[scores, *([holdout] if holdout else [])])


def run_similarity(
    job: Job, *, parts: Sequence[EmbeddingPart], work: Path, config: DedupConfig, seed: int, holdout: Artifact | None = None
) -> Artifact:
    """Search the candidates for copies, look-alikes and similar frames; returns the scores, which hold for every threshold.

    What `holdout` leaves out is no candidate.
    """
    plan = plan_similarity(job.lake, parts=parts, config=config, seed=seed, holdout=holdout)
    if done := job.done(plan, "similarity"):
        return done
    folder, candidates, out = work / "search", work / "candidates.parquet", work / "similarities.parquet"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    with job.record(plan) as run:
        num_frames = queries.export_candidates(
            job.lake, parts[0].encoder_id, candidates, holdout_id=holdout.artifact_id if holdout else None
        )
        if not num_frames:
            raise ValueError("every candidate is held out, so there is nothing to curate; the view holdout_matches says by what")
        with job.runner.reuse_workers():
            search = prepare_search(
                candidates,
                parts,
                lake_root=job.lake.root,
                folder=folder,
                config=config,
                seed=seed,
                run_map=_on_workers(job, "assign to clusters"),
            )
            say(
                f"similarity: {search.num_frames} frames in {search.num_clusters} clusters, the largest of {search.largest_cluster}: "
                f"{search.num_pairs:,} pairs to compare"
            )
            cosines = list(_on_workers(job, "compare clusters")(search_clusters, search.segments, folder=str(folder)))
            compare_hashes = _on_workers(job, "compare hashes")
            hashes = list(compare_hashes(search_hashes, search.hash_shares, folder=str(folder), radius=config.dedup_hash_radius))
        similarity_id = collect_similarities(candidates, folder=folder, cosines=[name for _, name in cosines], tables=hashes, out=out)
        if not queries.is_recorded(job.lake, "similarities", "similarity_id", similarity_id):
            run.parts("similarities", [out])
        scores = Artifact(artifact_id=similarity_id, kind="similarity", uri="tables/main/similarities", num_rows=num_frames)
        run.output(scores)
        run.metrics.update(num_frames=num_frames, num_clusters=search.num_clusters, num_pairs=search.num_pairs)
    shutil.rmtree(folder)
    return scores


def run_dedup(job: Job, *, scores: Artifact, work: Path, config: DedupConfig, holdout: Artifact | None = None) -> Artifact:
    """Decide which candidates are left out as duplicates; returns the deduplication, `num_rows` of which are candidates."""
    plan = plan_dedup(scores=scores, config=config, holdout=holdout)
    if done := job.done(plan, "dedup"):
        return done
    with job.record(plan) as run:
        num_frames = export_similarities(job.lake, scores.artifact_id, work / "similarities.parquet")
        dedup_id, by_kind = decide_duplicates(work / "similarities.parquet", out=work / "dedup.parquet", config=config)
        dedup = Artifact(artifact_id=dedup_id, kind="dedup", uri="tables/main/dedup", num_rows=num_frames)
        if not queries.is_recorded(job.lake, "dedup", "dedup_id", dedup_id):
            run.parts("dedup", [work / "dedup.parquet"])
        run.output(dedup)
        run.metrics.update(num_frames=num_frames, num_duplicates=sum(by_kind.values()), **by_kind)
    say(
        f"dedup: {num_frames} frames, left out as duplicates of others: {by_kind['exact']} copies, {by_kind['perceptual']} look-alikes, "
        f"{by_kind['semantic']} similar; {num_frames - sum(by_kind.values())} unique"
    )
    return dedup


def run_dedup_alone(job: Job, *, encoder_id: str, config: DedupConfig, seed: int) -> str:
    """Decide which candidates are duplicates, with no dataset in view; returns the funnel as text."""
    scores = searched(job, encoder_id=encoder_id, config=config, seed=seed)
    with _own_folder(job) as work:
        dedup = run_dedup(job, scores=scores, work=work, config=config)
    rows = dedup_funnel(job.lake, dedup.artifact_id)
    width = max(len(step) for step, _ in rows)
    return "\n".join(f"{step:<{width}}  {count:>12,}" for step, count in rows)


def searched(job: Job, *, encoder_id: str, config: DedupConfig, seed: int) -> Artifact:
    """The scores of the candidates, searched if they are not recorded yet."""
    with _own_folder(job) as work:
        return run_similarity(job, parts=queries.embedding_parts(job.lake, encoder_id), work=work, config=config, seed=seed)


def _on_workers(job: Job, description: str) -> Map:
    """The runner for items of which none may fail."""

    def run_map(function: Any, items: Sequence[Any], **shared: Any) -> Iterable[Any]:
        found = job.runner.map(function, items, **shared)
        return track(successes(found, stage="similarity"), description=description, total=len(items))

    return run_map


def _own_folder(job: Job) -> AbstractContextManager[Path]:
    return scratch_folder(job.lake.root / "staging" / "dedup")  # two may run at a time

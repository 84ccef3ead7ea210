"""Stage run: the candidates to those that are no near-duplicates of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from curation.curate_config import DedupConfig
from curation.deduplicate import DEDUP_VERSION, deduplicate_frames
from flows.job import Job
from flows.progress import say
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import plan_run
from warehouse.records import Artifact, EmbeddingPart
from warehouse.requalification import effective_requalification

__all__ = ["run_dedup"]


def run_dedup(
    job: Job, *, parts: Sequence[EmbeddingPart], work: Path, config: DedupConfig, seed: int, holdout: Artifact | None = None
) -> Artifact:
    """Decide which candidates are left out as near-duplicates; returns the deduplication, `num_rows` of which are candidates.

    What `holdout` leaves out is no candidate.
    """
    settings = {
        **asdict(config),
        "seed": seed,
        "candidates": queries.candidates_state(job.lake, parts[0].encoder_id),  # parts hold other frames too, and candidates come and go
    }
    inputs = [*map(artifact_of, parts), *effective_requalification(job.lake), *([holdout] if holdout else [])]
    plan = plan_run(stage="dedup", version=DEDUP_VERSION, config=settings, inputs=inputs, seed=seed)
    if done := job.done(plan, "dedup"):
        return done
    with job.record(plan) as run:
        num_frames = queries.export_candidates(
            job.lake, parts[0].encoder_id, work / "candidates.parquet", holdout_id=holdout.artifact_id if holdout else None
        )
        if not num_frames:
            raise ValueError("every candidate is held out, so there is nothing to curate; the view holdout_matches says by what")
        dedup_id, num_duplicates = deduplicate_frames(
            work / "candidates.parquet", parts, lake_root=job.lake.root, out=work / "dedup.parquet", config=config, seed=seed
        )
        dedup = Artifact(artifact_id=dedup_id, kind="dedup", uri="tables/main/dedup", num_rows=num_frames)
        if not queries.is_recorded(job.lake, "dedup", "dedup_id", dedup_id):
            run.parts("dedup", [work / "dedup.parquet"])
        run.output(dedup)
        run.metrics.update(num_frames=num_frames, num_duplicates=num_duplicates)
    say(f"dedup: {num_frames} frames, {num_duplicates} near-duplicates of others left out")
    return dedup

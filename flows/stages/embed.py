"""Stage run: frame packs to embedding parts."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import torch

from curation.embedding import (
    EMBED_VERSION,
    EmbedConfig,
    batch_size_on,
    embed_packs,
    group_packs,
    load_encoder,
    remove_unused_pieces,
    whole_parts,
)
from flows.job import Job
from flows.runners import Resources, say, successes, track
from flows.stages.encoder_resources import encoder_device, encoder_resources
from warehouse.artifacts import artifact_of
from warehouse.lineage import plan_run
from warehouse.plan_sizes import pool_sizes
from warehouse.queries import outdated_embeddings, packs_without_embeddings
from warehouse.store import ABANDONED_AFTER_S

__all__ = ["run_embed"]


def run_embed(job: Job, *, config: EmbedConfig) -> str:
    """Embed every kept frame that this encoder has not seen yet; returns the encoder's id.

    Vectors of an earlier version of embedding are forgotten first and made anew: later stages compare vectors with each other, and those of
    two versions may differ. Forgetting is a transaction of its own, so that no stage takes up old vectors while new ones are made; their
    files stay what they were.
    """
    here = replace(config, device="cpu")
    encoder_id = load_encoder(here).encoder_id
    lake_root = str(job.lake.root)
    if outdated := outdated_embeddings(job.lake, encoder_id, EMBED_VERSION):
        with job.lake.transaction():
            job.lake.remove("embeddings", pa.Table.from_pylist(outdated))
        say(f"embed: the vectors of {len(outdated)} packs are of an earlier version and are made anew")
    packs = packs_without_embeddings(job.lake, encoder_id, EMBED_VERSION)
    resources = encoder_resources(job.runner, config.device) if packs else Resources()
    there = replace(config, device=encoder_device(resources))
    groups = group_packs(packs, batch_size=batch_size_on(torch.device(there.device), there))
    remove_unused_pieces(groups, lake_root=lake_root, config=here, older_than_s=ABANDONED_AFTER_S)
    if not packs:
        has_frames = pool_sizes(job.lake).num_candidates > 0
        say("embed: every kept frame has its embedding already" if has_frames else "embed: the lake has no kept frame; ingest videos first")
        return encoder_id
    plan = plan_run(
        stage="embed",
        version=EMBED_VERSION,
        config={"encoder": config.encoder, "encoder_id": encoder_id},
        inputs=[artifact_of(pack) for pack in packs],
    )
    with job.record(plan) as run:
        results = job.runner.map(embed_packs, groups, resources=resources, lake_root=lake_root, config=there)
        embedded = whole_parts(groups, successes(results, stage="embed"), lake_root=lake_root, config=here)
        num_frames = sum(pack.num_frames for pack in packs)
        tracked = track(
            zip(groups, embedded, strict=True), description="embed frames", total=num_frames, size=lambda done: done[0].num_frames
        )
        parts = [part for _, done in tracked for part in done]
        run.rows("embeddings", parts)
        run.output(*map(artifact_of, parts))
        run.metrics["num_frames"] = sum(part.num_frames for part in parts)
    say(f"embed: {sum(part.num_frames for part in parts)} frames of {len({pack.video_id for pack in packs})} videos")
    return encoder_id

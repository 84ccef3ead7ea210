"""Stage run: labelled images to a classifier, and the frames that it takes for outside the body to `removals`."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from curation.embedding import EmbedConfig, load_encoder
from curation.privacy import HEAD_VERSION, Head, LabelledImages, OutOfBodyConfig, fit_head, frames_outside, read_labels, score_part
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.audit import say_datasets_with_removed
from warehouse.artifacts import artifact_of
from warehouse.audits import export_scored, num_candidates, num_candidates_among
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import embedding_parts
from warehouse.records import Artifact

__all__ = ["run_remove_out_of_body"]


def run_remove_out_of_body(job: Job, *, labels: Path, encoder: EmbedConfig, config: OutOfBodyConfig, dry_run: bool) -> int:
    """Remove for good every embedded frame that a classifier learned from `labels` takes for outside the body.

    All embedded frames are judged, those that a filter dropped meanwhile too: what they are does not change when a threshold does.

    Args:
        job: the lake and the runner.
        labels: folder with inside/ and outside/.
        encoder: embeds the labelled images; it has to have embedded the frames too.
        config: sensitivity, smoothing and the largest share to remove.
        dry_run: record nothing.

    Returns:
        the number of candidates that were removed, or would be; 0 where the same work was done before.

    Raises:
        ValueError: the labels are too few, or more candidates than `config.max_removed_share` would go.
        LakeError: no frame is embedded.
    """
    encoder_id = load_encoder(encoder).encoder_id
    parts = embedding_parts(job.lake, encoder_id)
    images = read_labels(labels, encoder)
    source = Artifact(artifact_id=images.labels_id, kind="labels", uri=labels.absolute().as_uri(), num_rows=len(images.groups))
    settings = {**asdict(config), "encoder_id": encoder_id}
    plan = plan_run(stage="out_of_body", version=HEAD_VERSION, config=settings, inputs=[source, *map(artifact_of, parts)])
    if not dry_run and completed_run_id(job.lake, plan):
        say("remove-out-of-body: these labels have judged these frames already")
        return 0
    if images.unreadable:
        say(f"remove-out-of-body: {len(images.unreadable)} files are no readable images and were left out, such as {images.unreadable[0]}")
    head = fit_head(images, config)
    say(f"remove-out-of-body: {_describe(head, images)}")
    folder = job.lake.root / "staging" / "out_of_body" / plan.stage_key[:16]
    try:
        results = job.runner.map(score_part, parts, lake_root=str(job.lake.root), head=head, folder=str(folder))
        scored = list(track(successes(results, stage="out_of_body"), description="score frames", total=len(parts)))
        export_scored(job.lake, scored, folder / "all.parquet")
        outside = [frame_id for frame_id, _ in frames_outside(folder / "all.parquet", threshold=head.threshold, window=config.window)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    num_removed, num_before = num_candidates_among(job.lake, outside), num_candidates(job.lake)
    found = f"{num_removed} of {num_before} candidates are outside the body"
    if dry_run:
        say(f"remove-out-of-body: {found}; nothing is removed by a dry run")
        return num_removed
    if num_removed > config.max_removed_share * num_before:
        raise ValueError(
            f"{found}, expected at most {config.max_removed_share:.0%} of them: labels that do not fit the archive must not empty it; "
            "look at the labels, or raise --max-removed-share"
        )
    with job.record(plan) as run:
        run.rows("removals", [{"frame_id": frame_id, "reason": "out_of_body", "source": run.run_id} for frame_id in outside])
        run.metrics.update(
            auc=head.auc,
            threshold=head.threshold,
            sensitivity=head.sensitivity,
            false_alarms=head.false_alarms,
            num_images_outside=int(images.is_outside.sum()),
            num_images_inside=int((~images.is_outside).sum()),
            num_unreadable=len(images.unreadable),
            num_frames=sum(part.num_frames for part in parts),
            num_removed=num_removed,
        )
    say(f"remove-out-of-body: {found}, and removed")
    say_datasets_with_removed(job.lake)
    return num_removed


def _describe(head: Head, images: LabelledImages) -> str:
    return (
        f"AUC {head.auc:.3f} by cross-validation on {len(images.groups)} images in {len(set(images.groups))} groups; from the threshold "
        f"{head.threshold:.3f} on it finds {head.sensitivity:.1%} of those outside and takes {head.false_alarms:.1%} of those inside for it"
    )

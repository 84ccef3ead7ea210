"""Stage run: the lake and a pretraining run to one HTML file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from curation.packs import read_frame, thumbnail
from evaluation.report import (
    REPORT_VERSION,
    ContactSheet,
    FunnelStep,
    Note,
    Picture,
    ReportData,
    StageTiming,
    Subgroups,
    prediction_files,
    prediction_table,
    render_report,
    subgroups_of,
)
from flows.job import Job
from flows.runners import say
from flows.stages.audit_words import dataset_sentence
from flows.stages.flagged import flag_notes
from flows.stages.growth import stage_growth
from flows.stages.training_curves import loss_curves, read_training, training_curve, training_signs
from warehouse import summary
from warehouse.artifacts import artifact_of
from warehouse.dataset_audit import DatasetAudit, dataset_audit
from warehouse.lake import Lake
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import best_checkpoint
from warehouse.records import Artifact, Checkpoint, Score
from warehouse.store import file_sha256

__all__ = ["run_report"]

PICTURES_PER_SHEET = 18
THUMBNAIL_PX = 144
UNITS = {
    "ingest": "frames kept",
    "embed": "frames",
    "similarity": "frames",
    "dedup": "frames",
    "select": "frames",
    "shard": "images",
    "pretrain": "steps",
}


def run_report(job: Job, *, run_id: str, out: Path | None) -> Path:
    """Write the report of a pretraining run and return its path; one that is up to date stays.

    Raises:
        LakeError: the run is not there.
    """
    best = best_checkpoint(job.lake, run_id)
    run_id = best.run_id  # a start of it was enough
    scores = summary.scores_of_pretraining(job.lake, run_id)
    path = (out or job.lake.root / "runs" / run_id / "report.html").absolute()
    inputs = [artifact_of(best), *(artifact_of(score) for score in scores)]
    facts = summary.run_summary(job.lake, run_id)
    verdict = dataset_audit(job.lake, facts.dataset_id)
    settings = {"path": str(path), "audit": asdict(verdict), "flagged": [note.text for note in flag_notes(job.lake)]}
    plan = plan_run(stage="report", version=REPORT_VERSION, config=settings, inputs=inputs)
    if completed_run_id(job.lake, plan) and path.exists():
        say(f"report: {path} is up to date")
        return path
    with job.record(plan) as run:
        render_report(_data(job.lake, facts, verdict, best, scores), path)
        digest = file_sha256(path)
        run.output(Artifact(artifact_id=digest, kind="report", uri=path.as_uri(), sha256=digest, num_bytes=path.stat().st_size))
    say(f"report: {path}")
    return path


def _data(lake: Lake, facts: summary.RunSummary, verdict: DatasetAudit, best: Checkpoint, scores: tuple[Score, ...]) -> ReportData:
    before, after = summary.cluster_sizes(lake, facts.dataset)
    training = read_training(lake, best.run_id)
    return ReportData(
        title=f"EndoForge: {facts.dataset}",
        subtitle=(
            f"{facts.num_images:,} images, from a lake of {facts.num_videos:,} videos, "
            f"pretraining {best.run_id}, checkpoint of step {best.step}"
        ),
        created_at=facts.ended_at,
        facts=(
            ("lake", str(lake.root)),
            ("dataset", f"{facts.dataset} ({facts.dataset_id[:16]})"),
            ("run", best.run_id),
            ("checkpoint", f"step {best.step} ({best.checkpoint_id[:16]})"),
            ("chosen by", f"{best.validation_metric} {best.validation_score:.3f}"),
            ("code", facts.code_version[:12]),
            ("seed", "none" if facts.seed is None else str(facts.seed)),
            ("machine", facts.host),
        ),
        funnel=_funnel(facts),
        kept=ContactSheet(
            title="kept",
            num_frames=facts.num_images,
            pictures=_pictures(lake, summary.picture_frames(lake, facts.dataset_id, duplicates=False, limit=PICTURES_PER_SHEET)),
        ),
        dropped=(*_boxed(lake, facts), *_dropped(lake, facts)),
        clusters_before=before,
        clusters_after=after,
        training=training_curve(lake, best),
        losses=loss_curves(training),
        scores=scores,
        subgroups=_subgroups(lake, scores, best.checkpoint_id),
        own_models=(best.checkpoint_id,),
        notes=(*training_signs(training), *flag_notes(lake), *_notes(facts, verdict, lake.root)),
        timings=tuple(
            StageTiming(
                stage=row["stage"],
                seconds=row["seconds"],
                num_items=row["num_items"],
                unit=UNITS.get(row["stage"], ""),
                runner=row["runner"],
            )
            for row in summary.stage_times(lake)
        ),
        growth=stage_growth(lake),
    )


def _subgroups(lake: Lake, scores: tuple[Score, ...], own: str) -> tuple[tuple[Score, Subgroups], ...]:
    """Of each head of the checkpoint whose predictions are there, its test images by device, site and patient."""
    heads = {files: score for score in scores if score.model_id == own and (files := prediction_files(score))}
    tables = ((score, prediction_table(score, lake.root)) for score in heads.values())
    return tuple((score, subgroups_of(table, lake.root)) for score, table in tables if table is not None)


def _funnel(facts: summary.RunSummary) -> tuple[FunnelStep, ...]:
    """From sampled frames to the shards; a step's note says where the others went."""
    counts = {step: count for step, reason, count in facts.funnel if not reason}
    dropped = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for step, reason, count in facts.funnel if step == "dropped")
    steps = [
        FunnelStep(name="sampled", num_frames=counts.get("sampled", 0), note=f"from {facts.num_videos:,} videos"),
        FunnelStep(name="kept", num_frames=counts.get("kept", 0), note=f"dropped: {dropped}" if dropped else ""),
    ]
    notes = {
        "without copies": "equal pictures left out",
        "without look-alikes": "equal by perceptual hash left out",
        "unique": "near-duplicates by embedding left out",
        "selected": "balanced over the clusters",
    }
    made = dict(facts.dataset_funnel)
    if "held out" in made:
        steps.append(FunnelStep(name="not held out", num_frames=made["candidates"], note=f"{made['held out']:,} held out for evaluation"))
    steps += [
        FunnelStep(name=step, num_frames=made[step], note=notes.get(step, "")) for step in made if step not in ("held out", "candidates")
    ]
    return tuple(steps)


def _pictures(lake: Lake, frames: tuple[summary.FramePicture, ...]) -> tuple[Picture, ...]:
    jpegs = (read_frame(lake.root / frame.pack_path, frame.byte_offset, frame.byte_size) for frame in frames)
    return tuple(
        Picture(jpeg=thumbnail(jpeg, width=THUMBNAIL_PX), caption=_named(frame)) for frame, jpeg in zip(frames, jpegs, strict=True)
    )


def _named(frame: summary.FramePicture | summary.Preview) -> str:
    return f"{frame.pts_us / 1e6:.1f} s, {frame.frame_id}"


def _previews(found: tuple[summary.Preview, ...]) -> tuple[Picture, ...]:
    return tuple(Picture(jpeg=each.jpeg, caption=_named(each)) for each in found)


def _boxed(lake: Lake, facts: summary.RunSummary) -> tuple[ContactSheet, ...]:
    """Some frames of the dataset with boxes over text, as they are stored: masked."""
    found = summary.boxed_frames(lake, facts.dataset_id, limit=PICTURES_PER_SHEET)
    num_frames = summary.num_boxed_frames(lake, facts.dataset_id)
    return (ContactSheet(title="kept with a box over text", num_frames=num_frames, pictures=_pictures(lake, found)),) if found else ()


def _dropped(lake: Lake, facts: summary.RunSummary) -> tuple[ContactSheet, ...]:
    previews = summary.dropped_previews(lake, limit=PICTURES_PER_SHEET)
    sheets = [
        ContactSheet(title=reason, num_frames=count, pictures=_previews(previews.get(reason, ())))
        for step, reason, count in facts.funnel
        if step == "dropped"
    ]
    steps = dict(facts.dataset_funnel)
    num_duplicates = steps.get("candidates", 0) - steps.get("unique", 0)
    if num_duplicates:
        frames = summary.picture_frames(lake, facts.dataset_id, duplicates=True, limit=PICTURES_PER_SHEET)
        sheets.append(ContactSheet(title="duplicate", num_frames=num_duplicates, pictures=_pictures(lake, frames)))
    return tuple(sheets)


def _notes(facts: summary.RunSummary, verdict: DatasetAudit, lake: Path) -> tuple[Note, ...]:
    notes = []
    if facts.rejects:
        reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in facts.rejects)
        notes.append(Note(level="warning", text=f"Files that gave no frame: {reasons}. The table rejects names each with its reason."))
    if facts.num_partial:
        notes.append(Note(level="warning", text=f"{facts.num_partial} videos are damaged and were read in part; videos.warning says how."))
    notes.append(
        Note(
            level="info",
            text="Everything outside the content area and the text that was found inside it are black, and segments outside the body are "
            "dropped. No detector finds everything: have a person check a sample before the shards leave the hospital.",
        )
    )
    notes.append(Note(level="info" if verdict.is_clear else "warning", text=f"Privacy: {dataset_sentence(verdict, lake)}."))
    notes.append(
        Note(
            level="info",
            text="Checkpoints are chosen on the validation split and scored on the test split; intervals are over patients where the data "
            "names them, else over single images or clips.",
        )
    )
    return tuple(notes)

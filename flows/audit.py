"""Stage runs: a contact sheet for a person to look through, and what that person found."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict

from curation.audit_sheet import AUDIT_VERSION, AuditSheet, SheetPicture, render_sheet, upper_bound
from curation.config import AuditConfig
from curation.pack import read_frame
from flows.job import Job
from flows.progress import say
from warehouse import audits
from warehouse.artifacts import artifact_of
from warehouse.audits import Audit, AuditedFrame
from warehouse.lake import Lake, LakeError
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import candidates_state, dataset_named
from warehouse.records import Artifact

__all__ = ["RESERVATION", "audit_sentence", "run_audit", "run_sign_off", "say_datasets_with_removed"]


RESERVATION = "; but "
"""what stands before each thing that an audit did not cover, in `audit_sentence`"""


def run_audit(job: Job, *, config: AuditConfig, dataset: str | None) -> Audit:
    """Draw a sample of the candidates, or of one dataset's shards, and write its sheet; the same sample of the same frames is one audit.

    Raises:
        LakeError: there is no such dataset, or nothing to draw from.
    """
    chosen = dataset_named(job.lake, dataset) if dataset else None
    dataset_id = chosen.dataset_id if chosen else None
    drawn = audits.draw_sample(job.lake, size=config.sample, seed=config.seed, dataset_id=dataset_id)
    if not drawn:
        raise LakeError(f"{job.lake.root} holds no kept frame to look at; run `endoforge ingest` first")
    settings = {**asdict(config), "dataset_id": dataset_id, "candidates": None if chosen else candidates_state(job.lake)}
    inputs = [artifact_of(chosen)] if chosen else _packs(drawn)
    plan = plan_run(stage="privacy_audit", version=AUDIT_VERSION, config=settings, inputs=inputs, seed=config.seed)
    audit_id = plan.stage_key[:16]
    sheet = f"audits/{audit_id}/sheet.html"
    path = job.lake.root / sheet
    if not (completed_run_id(job.lake, plan) and path.exists()):
        num_random = sum(frame.stratum == "random" for frame in drawn)
        with job.record(plan) as run:
            num_in_scope = chosen.num_images if chosen else audits.num_candidates(job.lake)
            scope = f"the shards of dataset {chosen.name}" if chosen else "all frames that the filters kept"
            page = AuditSheet(
                audit_id=audit_id,
                scope=scope,
                num_frames_in_scope=num_in_scope,
                seed=config.seed,
                num_random=num_random,
                pictures=tuple(_picture(job.lake, frame) for frame in drawn),
            )
            render_sheet(page, path)
            row = {"audit_id": audit_id, "dataset_id": dataset_id, "status": "open", "num_frames": len(drawn), "seed": config.seed}
            run.rows("audits", [{**row, "sheet": sheet, "recorded_at": _now()}])
            run.rows(
                "audit_frames",
                [
                    {"audit_id": audit_id, "frame_id": frame.frame_id, "position": position, "stratum": frame.stratum}
                    for position, frame in enumerate(drawn, start=1)
                ],
            )
            run.output(_artifact(audit_id, sheet, len(drawn)))
            run.metrics.update(num_frames=len(drawn), num_random=num_random, num_in_scope=num_in_scope)
    audit = audits.audit_with_id(job.lake, audit_id)
    say(f"privacy-audit: {audit.num_frames} frames in {path}")
    say(f"privacy-audit: {_state(audit)}")
    return audit


def run_sign_off(job: Job, audit_id: str, *, reviewer: str, found: Sequence[int], note: str, remove_videos: bool) -> Audit:
    """Record what a person found on a sheet; found frames are removed for good, with `remove_videos` all frames of their videos.

    Typed again it changes nothing; another outcome is a further row, and the latest counts. No removal is ever taken back.

    Raises:
        LakeError: there is no such audit, or no such position on its sheet.
    """
    before = audits.audit_with_id(job.lake, audit_id)
    identifying = audits.found_frames(job.lake, before, sorted(set(found)))
    outcome = {
        "audit_id": before.audit_id,
        "reviewer": reviewer,
        "note": note,
        "found": [frame.frame_id for frame in identifying],
        "remove_videos": remove_videos,
    }
    if before.status != "open" and audits.recorded_outcome(job.lake, before) == outcome:
        say(f"privacy-audit: {_state(before)}; that is recorded already")
        return before
    # what it follows is a part of its identity: clean, corrected to findings and clean again are three decisions
    settings = {**outcome, "follows": before.run_id}
    artifact = _artifact(before.audit_id, before.sheet, before.num_frames)
    with job.record(plan_run(stage="sign_off", version=AUDIT_VERSION, config=settings, inputs=[artifact])) as run:
        removals = [{"frame_id": frame.frame_id, "reason": "identified_in_audit", "source": before.audit_id} for frame in identifying]
        if remove_videos:
            video_ids = sorted({frame.video_id for frame in identifying})
            removals += [
                {"frame_id": frame_id, "reason": "video_removed_in_audit", "source": before.audit_id}
                for frame_id in audits.frames_of_videos(job.lake, video_ids)
            ]
        status = "findings" if identifying else "clean"
        kept = {name: getattr(before, name) for name in ("audit_id", "dataset_id", "num_frames", "seed", "sheet")}
        signed = {"status": status, "reviewer": reviewer, "note": note or None, "num_findings": len(identifying), "recorded_at": _now()}
        run.rows("audits", [kept | signed])
        run.rows("removals", removals)
        num_found_random = sum(frame.stratum == "random" for frame in identifying)
        run.metrics.update(
            num_findings=len(identifying),
            num_findings_random=num_found_random,
            num_random=before.num_random,
            upper_bound_95=upper_bound(num_found_random, before.num_random),
        )
    audit = audits.audit_with_id(job.lake, before.audit_id)
    say(f"privacy-audit: {_state(audit)}")
    for frame in identifying:
        rest = "removed with it" if remove_videos else "--remove-videos removes them too"
        say(
            f"privacy-audit: {frame.position} is frame {frame.frame_id} of {frame.uri}, "
            f"which has {frame.num_others} other kept frames{': ' + rest if frame.num_others else ''}"
        )
    if identifying:
        say(f"privacy-audit: the sheet still shows what was found; delete {job.lake.root / audit.sheet} when nobody needs it")
    say_datasets_with_removed(job.lake)
    return audit


def audit_sentence(lake: Lake, dataset_id: str) -> str:
    """Whether a person has looked at a sample of what a dataset is made of, and what that look did not cover, in one line."""
    audit = audits.audit_of_dataset(lake, dataset_id)
    if audit is None:
        parts = [f"not audited: run `endoforge privacy-audit --lake {lake.root}` before shards leave the hospital"]
    else:
        parts = [_state(audit)]
        if num_videos := audits.later_videos(lake, dataset_id, audit.audit_id):
            parts.append(f"{num_videos} of its videos came in after the sample was drawn")
        if num_frames := audits.later_frames(lake, dataset_id, audit.audit_id):
            parts.append(f"{num_frames} of its frames were brought back after the sample was drawn, draw another")
    if num_frames := audits.num_unchecked_for_text(lake, dataset_id):
        parts.append(f"{num_frames} of its frames were never looked at for text")
    if removed := audits.datasets_with_removed(lake, dataset_id=dataset_id):
        parts.append(f"it holds {max(removed.values())} frames that were removed later, curate another")
    return RESERVATION.join(parts)


def say_datasets_with_removed(lake: Lake) -> None:
    """Name the datasets that were made before frames of theirs were removed."""
    for name, num_frames in audits.datasets_with_removed(lake).items():
        say(f"dataset {name!r} was made before: it holds {num_frames} removed frames; curate another and delete its shards")


def _state(audit: Audit) -> str:
    if audit.status == "open":
        return f"audit {audit.audit_id} waits for a person: look at its sheet, then add --sign-off {audit.audit_id} --reviewer NAME"
    share = f"{100 * (audit.upper_bound_95 or 0):.1f}% of the frames identify someone (95% confidence, videos counted alike)"
    signed = f"in {audit.num_frames} frames (audit {audit.audit_id}, {audit.reviewer}, {audit.day})"
    if audit.status == "clean":
        return f"audited: nothing found {signed}; at most {share}"
    return f"audited: {audit.num_findings} found {signed} and removed; before that at most {share}; draw another sample of what is left"


def _packs(drawn: Sequence[AuditedFrame]) -> list[Artifact]:
    packs = {frame.source_id: frame.path for frame in drawn}
    return [Artifact(artifact_id=pack_id, kind="frame_pack", uri=path, sha256=pack_id) for pack_id, path in sorted(packs.items())]


def _picture(lake: Lake, frame: AuditedFrame) -> SheetPicture:
    return SheetPicture(frame_id=frame.frame_id, jpeg=read_frame(lake.root / frame.path, frame.byte_offset, frame.byte_size))


def _artifact(audit_id: str, sheet: str, num_frames: int) -> Artifact:
    return Artifact(artifact_id=audit_id, kind="audit", uri=sheet, num_rows=num_frames)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)

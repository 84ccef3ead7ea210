"""Stage runs: a contact sheet for a person to look through, and what that person found."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict

from curation.clips import clip_picture
from curation.packs import read_frame
from curation.privacy import AUDIT_VERSION, AuditConfig, AuditSheet, SheetPicture, render_sheet, upper_bound
from flows.job import Job
from flows.runners import say
from flows.stages.audit_words import audit_state
from flows.stages.private_audit import erase_decided
from warehouse import audits
from warehouse.artifacts import artifact_of
from warehouse.audits import Audit, AuditedFrame
from warehouse.clip_audits import AuditedClip, draw_clips, frames_beside
from warehouse.clips import has_clips
from warehouse.dataset_queries import dataset_named
from warehouse.lake import Lake, LakeError
from warehouse.lineage import by_person, completed_run_id, plan_run
from warehouse.queries import candidates_state
from warehouse.records import Artifact

__all__ = ["run_audit", "run_sign_off", "say_datasets_with_removed"]


def run_audit(job: Job, *, config: AuditConfig, dataset: str | None) -> Audit:
    """Draw a sample of the candidates, or of one dataset's shards, and write its sheet; the same sample of the same frames is one audit.

    Raises:
        LakeError: there is no such dataset, or there is nothing to draw from.
    """
    chosen = dataset_named(job.lake, dataset) if dataset else None
    dataset_id = chosen.dataset_id if chosen else None
    item = "clips" if dataset_id and has_clips(job.lake, dataset_id) else "frames"
    drawn = _drawn(job.lake, config, dataset_id, item)
    if not drawn:
        raise LakeError(f"{job.lake.root} holds no kept frame to look at; run `endoforge ingest` first")
    settings = {**asdict(config), "dataset_id": dataset_id, "candidates": None if chosen else candidates_state(job.lake)}
    inputs = [artifact_of(chosen)] if chosen else _packs([frame for frame in drawn if isinstance(frame, AuditedFrame)])
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
                item=item,
                pictures=tuple(_picture(job.lake, frame) for frame in drawn),
            )
            render_sheet(page, path)
            row = {"audit_id": audit_id, "dataset_id": dataset_id, "status": "open", "num_frames": len(drawn), "seed": config.seed}
            unsigned = {"reviewer": None, "note": None, "num_findings": None}
            run.rows("audits", [{**row, **unsigned, "sheet": sheet, "recorded_at": _now()}])
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
    say(f"privacy-audit: {audit.num_frames} {item} in {path}")
    say(f"privacy-audit: {audit_state(audit, item=item)}")
    return audit


def run_sign_off(job: Job, audit_id: str, *, reviewer: str, found: Sequence[int], note: str, remove_videos: bool) -> Audit:
    """Record what a person found on a sheet; found frames are removed for good, with `remove_videos` all frames of their videos.

    On a sheet of clips every sampled frame of a found clip is removed, so that no later clip has footage from between them.

    Sign-offs of one audit add up: each is a further row, no finding is taken back, and every reviewer is named. The same one typed again
    changes nothing.

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
    item = "clips" if before.dataset_id and has_clips(job.lake, before.dataset_id) else "frames"
    artifact = _artifact(before.audit_id, before.sheet, before.num_frames)
    plan = plan_run(stage="sign_off", version=AUDIT_VERSION, config=outcome, inputs=[artifact])
    if completed_run_id(job.lake, plan):
        say(f"privacy-audit: {audit_state(before, item=item)}; that is recorded already")
        return before
    with job.record(by_person(plan)) as run:
        shown = [frame.frame_id for frame in identifying]
        beside = frames_beside(job.lake, before.dataset_id, shown) if before.dataset_id and item == "clips" else ()
        removals = [{"frame_id": frame_id, "reason": "identified_in_audit", "source": before.audit_id} for frame_id in (*shown, *beside)]
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
        num_found_random = audits.num_found_at_random(job.lake, before.audit_id, [frame.frame_id for frame in identifying])
        run.metrics.update(
            num_findings=len(identifying),
            num_findings_random=num_found_random,
            num_random=before.num_random,
            upper_bound_95=upper_bound(num_found_random, before.num_random),
        )
    audit = audits.audit_with_id(job.lake, before.audit_id)
    say(f"privacy-audit: {audit_state(audit, item=item)}")
    for frame in identifying:
        rest = "removed with it" if remove_videos else "--remove-videos removes them too"
        say(
            f"privacy-audit: {frame.position} is {'the clip around ' if item == 'clips' else ''}frame {frame.frame_id} of {frame.uri}, "
            f"which has {frame.num_others} other kept frames{': ' + rest if frame.num_others else ''}"
        )
    if identifying:
        say(f"privacy-audit: the sheet still shows what was found; delete {job.lake.root / audit.sheet} when nobody needs it")
    if num_erased := erase_decided(job.lake):
        say(f"privacy-audit: {num_erased} private pictures of removed or decided frames are deleted")
    say_datasets_with_removed(job.lake)
    return audit


def say_datasets_with_removed(lake: Lake) -> None:
    """Name the datasets that were made before frames of theirs were removed."""
    for name, num_frames in audits.datasets_with_removed(lake).items():
        say(f"dataset {name!r} was made before: it holds {num_frames} removed frames; curate another and delete its shards")


def _drawn(lake: Lake, config: AuditConfig, dataset_id: str | None, item: str) -> Sequence[AuditedFrame | AuditedClip]:
    if dataset_id and item == "clips":
        return draw_clips(lake, size=config.sample, seed=config.seed, dataset_id=dataset_id)
    return audits.draw_sample(lake, size=config.sample, seed=config.seed, dataset_id=dataset_id)


def _packs(drawn: Sequence[AuditedFrame]) -> list[Artifact]:
    packs = {frame.source_id: frame.path for frame in drawn}
    return [Artifact(artifact_id=pack_id, kind="frame_pack", uri=path, sha256=pack_id) for pack_id, path in sorted(packs.items())]


def _picture(lake: Lake, drawn: AuditedFrame | AuditedClip) -> SheetPicture:
    if isinstance(drawn, AuditedClip):
        content = read_frame(lake.root / drawn.pack_path, drawn.byte_offset, drawn.byte_size)
        return SheetPicture(frame_id=drawn.clip_id, jpeg=clip_picture(content, drawn.num_frames))
    return SheetPicture(frame_id=drawn.frame_id, jpeg=read_frame(lake.root / drawn.path, drawn.byte_offset, drawn.byte_size))


def _artifact(audit_id: str, sheet: str, num_frames: int) -> Artifact:
    return Artifact(artifact_id=audit_id, kind="audit", uri=sheet, num_rows=num_frames)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)

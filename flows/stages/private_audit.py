"""Stage runs: a page of private pictures for a person, what that person decided, and the deletion of private pictures."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from curation.ingest import PRIVATE_AUDIT_VERSION, PrivatePicture, Returning, bring_back, erase_pictures, render_private_sheet, restored_id
from curation.packs import read_frame
from curation.privacy import Box
from flows.job import Job, one_at_a_time
from flows.runners import say
from warehouse import private_frames
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake, LakeError
from warehouse.lineage import by_person, completed_run_id, plan_run
from warehouse.private_frames import PrivateAudit, PrivateFrame
from warehouse.queries import run_json
from warehouse.records import Artifact, FramePack
from warehouse.store import content_id

__all__ = ["PrivateOutcome", "erase_decided", "run_private_audit", "run_private_sign_off", "run_purge_private"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateOutcome:
    """What a person decided about the pictures of a sheet."""

    reviewer: str
    lift: tuple[int, ...] = ()
    """positions of pictures whose mask is wrong"""
    restore: tuple[int, ...] = ()
    """positions of pictures that show the inside of a patient"""
    whole_video: bool = False
    """decide about all other waiting pictures of these videos alike"""
    keep_private: bool = False
    """keep the private pictures and the sheet"""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What becomes of one private picture."""

    frame: PrivateFrame
    decision: str
    """lifted, restored, released or confirmed"""
    is_lifted: bool
    is_named: bool

    @property
    def comes_back(self) -> bool:
        return self.decision != "confirmed"


def run_private_audit(job: Job, *, size: int, seed: int) -> PrivateAudit | None:
    """Draw private pictures that wait for a decision and write their sheet; None if none waits.

    Raises:
        ValueError: a private pack is damaged.
        FileNotFoundError: a private pack is gone.
    """
    with _alone(job.lake.root):
        drawn = private_frames.draw_private(job.lake, size=size, seed=seed)
        if not drawn:
            say("privacy-audit: no private picture waits for a decision")
            return None
        settings = {"seed": seed, "frames": content_id([frame.frame_id for frame in drawn])}
        plan = plan_run(stage="private_audit", version=PRIVATE_AUDIT_VERSION, config=settings, inputs=[], seed=seed)
        audit_id = plan.stage_key[:16]
        sheet = f"audits/{audit_id}/private.html"
        pictures = tuple(_picture(job.lake.root, frame) for frame in drawn)
        if completed_run_id(job.lake, plan) is None:
            with job.record(plan) as run:
                render_private_sheet(audit_id, pictures, job.lake.root / sheet)
                row = {"audit_id": audit_id, "status": "open", "reviewer": None, "note": None, "num_frames": len(drawn), "sheet": sheet}
                run.rows("private_audits", [{**row, "recorded_at": _now()}])
                positions = [{"audit_id": audit_id, "frame_id": frame.frame_id, "position": frame.position} for frame in drawn]
                run.rows("private_audit_frames", positions)
                run.output(Artifact(artifact_id=audit_id, kind="private_audit", uri=sheet, num_rows=len(drawn)))
                run.metrics["num_frames"] = len(drawn)
        elif not (job.lake.root / sheet).exists():
            render_private_sheet(audit_id, pictures, job.lake.root / sheet)
    say(f"privacy-audit: {len(drawn)} PRIVATE pictures in {job.lake.root / sheet} (mode 0600; deleted at the sign-off)")
    say(f"privacy-audit: look at it, then type the command at its foot, with --private --sign-off {audit_id} --reviewer NAME")
    return private_frames.private_audit_with_id(job.lake, audit_id)


def run_private_sign_off(job: Job, audit_id: str, outcome: PrivateOutcome) -> PrivateAudit:
    """Carry out what a person decided: bring frames back, record every decision, then delete the decided private pictures.

    The packs of what comes back are written first, all rows are one transaction, and pictures are deleted last; typed again after an
    interruption it goes on from there.

    Raises:
        LakeError: there is no such audit or position, the audit is signed off otherwise already, or a picture is of another kind.
    """
    with _alone(job.lake.root):
        audit = private_frames.private_audit_with_id(job.lake, audit_id)
        settings = {"audit_id": audit.audit_id, **_as_settings(outcome)}
        if audit.status == "signed":
            if {**run_json(job.lake, audit.run_id, "config"), "user": ""} != {**settings, "user": ""}:
                raise LakeError(
                    f"private audit {audit.audit_id} was signed off by {audit.reviewer} on {audit.day} with another outcome, and its "
                    "pictures are decided; remove a frame that came back wrongly with `endoforge privacy-audit` and --found"
                )
            say(f"privacy-audit: audit {audit.audit_id} is signed off already; that is recorded")
        else:
            choices = _choices(job.lake, audit, outcome)
            artifact = Artifact(artifact_id=audit.audit_id, kind="private_audit", uri=audit.sheet, num_rows=audit.num_frames)
            plan = plan_run(stage="private_sign_off", version=PRIVATE_AUDIT_VERSION, config=settings, inputs=[artifact])
            with job.record(by_person(plan)) as run:
                packs, rows = _brought_back(job.lake, choices)
                run.rows("packs", packs)
                run.rows("frames", rows, scores=job.lake.added_scores("frames"))
                run.rows("private_decisions", [_decision(choice, audit, outcome) for choice in choices])
                kept = {name: getattr(audit, name) for name in ("audit_id", "num_frames", "sheet")}
                signed = {"status": "signed", "reviewer": outcome.reviewer, "note": outcome.note or None, "recorded_at": _now()}
                run.rows("private_audits", [kept | signed])
                run.output(*(artifact_of(FramePack(**{k: v for k, v in pack.items() if k != "ingest_key"})) for pack in packs))
                run.metrics.update(
                    num_decided=len(choices),
                    num_brought_back=len(rows),
                    num_kept=sum(bool(row["keep"]) for row in rows),
                )
            say(f"privacy-audit: {_tally(choices)} of {len({choice.frame.video_id for choice in choices})} videos")
            say(
                "privacy-audit: run `endoforge embed` and `endoforge curate` for what came back"
                if rows
                else "privacy-audit: none came back"
            )
        if not outcome.keep_private:
            (job.lake.root / audit.sheet).unlink(missing_ok=True)
        num_erased = erase_decided(job.lake)
        if num_erased:
            say(f"privacy-audit: {num_erased} private pictures are deleted")
        return private_frames.private_audit_with_id(job.lake, audit.audit_id)


def run_purge_private(job: Job, *, older_than_days: float) -> int:
    """Delete private pictures, decided or not, of videos ingested that many days ago or earlier; returns how many.

    What nobody has decided about is recorded as purged first, so that an interrupted purge is finished by the next one. Sheets of private
    pictures go too, and private packs that no committed ingest made.
    """
    with _alone(job.lake.root):
        unseen = private_frames.unseen_pictures(job.lake, older_than_days=older_than_days)
        if unseen:
            settings = {"older_than_days": older_than_days, "frames": content_id(unseen)}
            plan = plan_run(stage="purge_private", version=PRIVATE_AUDIT_VERSION, config=settings, inputs=[])
            with job.record(by_person(plan)) as run:
                row = {"audit_id": None, "reviewer": None, "new_frame_id": None, "is_named": False, "is_kept": False}
                run.rows("private_decisions", [{"frame_id": frame_id, "decision": "purged", **row} for frame_id in unseen])
                run.metrics["num_purged"] = len(unseen)
        num_erased = erase_decided(job.lake, kept_too=True, older_than_days=older_than_days)
        for sheet in private_frames.sheets_of_private_audits(job.lake):
            (job.lake.root / sheet).unlink(missing_ok=True)
        if older_than_days == 0:
            num_erased += _erase_orphans(job.lake)
    say(f"privacy-audit: {num_erased} private pictures are deleted, {len(unseen)} of them seen by nobody")
    return num_erased


def erase_decided(lake: Lake, *, kept_too: bool = False, older_than_days: float = 0.0) -> int:
    """Delete the private pictures that are decided, and those of removed frames; returns how many were there yet."""
    found = private_frames.erasable_pictures(lake, kept_too=kept_too, older_than_days=older_than_days)
    return sum(erase_pictures(lake.root / pack.path, pack.places, is_whole=pack.is_whole) for pack in found)


def _erase_orphans(lake: Lake) -> int:
    """Private packs of ingests that were killed before their commit; none while an ingest is at work."""
    with contextlib.suppress(TimeoutError), FileLock(lake.root / "ingest.lock", timeout=0):
        known = {row["path"] for row in lake.rows("SELECT DISTINCT path FROM private_frames")}
        orphans = [path for path in (lake.root / "frames").glob("*/*/*.private.tar") if str(path.relative_to(lake.root)) not in known]
        for path in orphans:
            path.unlink()
        return len(orphans)
    return 0


def _alone(root: Path) -> contextlib.AbstractContextManager[None]:
    """Two sign-offs at once would number their packs alike."""
    return one_at_a_time(root / "private.lock", busy="another process decides about private pictures")


def _choices(lake: Lake, audit: PrivateAudit, outcome: PrivateOutcome) -> list[_Choice]:
    """What becomes of every picture of the sheet, and with `whole_video` of the others of their videos."""
    shown = private_frames.frames_of_audit(lake, audit.audit_id)
    by_position = {frame.position: frame for frame in shown}
    for name, positions in (("--lift", outcome.lift), ("--restore", outcome.restore)):
        if unknown := sorted(set(positions) - by_position.keys()):
            raise LakeError(
                f"{name} got {', '.join(map(str, unknown))}, but the sheet of audit {audit.audit_id} has positions 1 to {len(shown)}; "
                "give the numbers that stand under the pictures"
            )
    for position in outcome.restore:
        if by_position[position].why != "out_of_body":
            raise LakeError(f"--restore got {position}, which was not dropped as out of body; use --lift for a wrong mask")
    for position in outcome.lift:
        if by_position[position].why == "out_of_body" and position not in outcome.restore:
            raise LakeError(f"--lift got {position}, which was dropped as out of body; add --restore {position} if it shows the inside")
    if decided := [frame.position for frame in shown if frame.is_decided]:
        say(f"privacy-audit: {len(decided)} of these pictures were decided in another audit meanwhile; that stays")
    open_frames = [frame for frame in shown if not frame.is_decided]
    lifted_videos = {by_position[position].video_id for position in outcome.lift}
    restored_videos = {by_position[position].video_id for position in outcome.restore}
    choices = [_choice(frame, frame.position in outcome.lift, frame.position in outcome.restore, is_named=True) for frame in open_frames]
    if outcome.whole_video:
        on_sheet = {frame.frame_id for frame in shown}
        others = private_frames.waiting_of_videos(lake, sorted({frame.video_id for frame in shown}))
        choices += [
            _choice(frame, frame.video_id in lifted_videos, frame.video_id in restored_videos, is_named=False)
            for frame in others
            if frame.frame_id not in on_sheet
        ]
    return sorted(choices, key=lambda choice: (choice.frame.video_id, choice.frame.pts_us))


def _choice(frame: PrivateFrame, is_lifted: bool, is_restored: bool, *, is_named: bool) -> _Choice:
    is_lifted = is_lifted and (bool(frame.boxes) or frame.why == "text")
    if frame.why == "out_of_body":
        decision = "restored" if is_restored else "confirmed"
    elif is_lifted:
        decision = "lifted"
    else:  # what the quarantine held goes on with its mask
        decision = "released" if frame.drop_reason == "text_unaudited" else "confirmed"
    return _Choice(frame=frame, decision=decision, is_lifted=is_lifted, is_named=is_named and decision in ("lifted", "restored"))


def _brought_back(lake: Lake, choices: Sequence[_Choice]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write a pack for each video with frames that come back; returns the rows of the tables `packs` and `frames`."""
    packs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    returning = [choice for choice in choices if choice.comes_back]
    for (video_id, key), group in itertools.groupby(returning, key=lambda choice: (choice.frame.video_id, choice.frame.ingest_key)):
        frames = [_returning(choice) for choice in group]
        number = private_frames.num_restored_packs(lake, video_id, key) + 1
        pack, made = bring_back(
            frames,
            private_frames.frame_rows(lake, [frame.frame_id for frame in frames]),
            root=lake.root,
            path=f"frames/{key[:8]}/{video_id[:2]}/{video_id}.restored-{number}.tar",
            video_id=video_id,
            config=private_frames.ingest_settings(lake, video_id, key),
        )
        names = ("pack_id", "video_id", "path", "num_bytes", "num_frames")
        packs.append({"ingest_key": key, **{name: getattr(pack, name) for name in names}})
        rows += made
    return packs, rows


def _returning(choice: _Choice) -> Returning:
    frame = choice.frame
    return Returning(
        frame_id=frame.frame_id,
        pack_path=frame.path,
        byte_offset=frame.byte_offset,
        byte_size=frame.byte_size,
        size=(frame.width, frame.height),
        boxes=tuple(Box(*box) for box in frame.boxes),
        is_lifted=choice.is_lifted,
        is_named=choice.is_named,
    )


def _decision(choice: _Choice, audit: PrivateAudit, outcome: PrivateOutcome) -> dict[str, Any]:
    frame_id = choice.frame.frame_id
    return {
        "frame_id": frame_id,
        "decision": choice.decision,
        "audit_id": audit.audit_id,
        "reviewer": outcome.reviewer,
        "new_frame_id": restored_id(frame_id) if choice.comes_back else None,
        "is_named": choice.is_named,
        "is_kept": outcome.keep_private,
    }


def _as_settings(outcome: PrivateOutcome) -> dict[str, object]:
    return {
        "reviewer": outcome.reviewer,
        "lift": sorted(set(outcome.lift)),
        "restore": sorted(set(outcome.restore)),
        "whole_video": outcome.whole_video,
        "keep_private": outcome.keep_private,
        "note": outcome.note,
    }


def _tally(choices: Sequence[_Choice]) -> str:
    names = {"lifted": "lifted", "restored": "restored", "released": "released with their mask", "confirmed": "confirmed"}
    return ", ".join(f"{sum(choice.decision == key for choice in choices)} {name}" for key, name in names.items())


def _picture(root: Path, frame: PrivateFrame) -> PrivatePicture:
    return PrivatePicture(
        video_id=frame.video_id,
        second=frame.pts_us / 1e6,
        why=frame.why,
        boxes=tuple(Box(*box) for box in frame.boxes),
        jpeg=read_frame(root / frame.path, frame.byte_offset, frame.byte_size),
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)

"""Stage run: files, folders and manifests to videos, frames and packs in the lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.filters import installed_filters
from curation.ingest import SCRATCH, IngestConfig, ingest_key
from curation.privacy import load_text_detector, load_text_reader
from curation.sources import patient_key as pseudonym_key, remove_dead_scratch
from flows.job import Job, one_at_a_time
from flows.runners import say, track
from flows.stages.faults import raise_if_filter_failed, say_what_is_left
from flows.stages.flagged import say_flagged
from flows.stages.ingest_batches import Batches, ingest_in_batches
from flows.stages.ingest_plan import Decided, decided_before, plan_ingest
from flows.stages.inventory import Inventory, take_inventory
from flows.stages.manifests import record_manifest
from flows.stages.reject_reasons import recorded_rejects_in_words, rejects_in_words
from flows.tally import current_tally
from warehouse.files import remember_gone
from warehouse.left import remember_left
from warehouse.records import Reject, VideoRef
from warehouse.store import ABANDONED_AFTER_S, remove_abandoned

__all__ = ["IngestSummary", "run_ingest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSummary:
    """What became of the files given."""

    num_files: int
    num_known: int
    """already decided by an earlier ingest with the same settings, those that moved since included"""
    num_known_rejected: int
    """known files that an earlier ingest rejected"""
    num_moved: int
    """found under another name than before, where there is nothing of the kind any more"""
    num_left: int
    """neither ingested nor rejected but left for the next run"""
    left_by_reason: Mapping[str, int]
    """how many were left, by the reasons of `Left`"""
    num_ingested: int
    num_rejected: int
    num_frames_kept: int
    why_nothing: str | None = None
    """the reasons, if every file was rejected, now or before"""


def run_ingest(job: Job, inputs: Sequence[str], *, config: IngestConfig) -> IngestSummary:
    """Ingest every video that the lake does not have yet; each file ends in `videos` or `rejects`, or is left for the next run.

    Raises:
        FileNotFoundError: nothing was found at an input.
        TextCheckFailed: text is to be looked for, and the detector or the reader does not work here.
        FilterFailed: an installed filter failed on a frame; its file is left for the next run, and all others are done.
    """
    if config.text != "off":
        load_text_detector()  # without it, or the reader, every frame would end in quarantine
        load_text_reader()
    patient_key = pseudonym_key()
    # two that knew the same of the lake would both ingest what is new, and each clear away what the other has staged
    with one_at_a_time(job.lake.root / "ingest.lock", busy="another ingest works on this lake"):
        job.lake.add_scores("frames", {each.name: each.what for each in installed_filters()})
        return _ingest(job, inputs, config, patient_key)


def _ingest(job: Job, inputs: Sequence[str], config: IngestConfig, patient_key: bytes | None) -> IngestSummary:
    before = decided_before(job.lake, config)
    inventory = take_inventory(job, inputs, config=config, patient_key=patient_key)
    plan = plan_ingest(before, inventory, retry_failed=config.retry_failed)
    ids = {video.uri: video.video_id for video in inventory.videos if video.video_id}
    remember_gone(job.lake, [uri for uri in plan.moved if uri not in ids])
    duplicates = [_duplicate(video, ingest_key(config)) for video in plan.duplicates]
    batches = Batches(job=job, config=config, patient_key=patient_key, given_up=plan.given_up)
    ended = list(track(ingest_in_batches(plan.new, duplicates, batches), description="ingest videos", total=len(plan.new)))
    done = [item for _, item in ended]
    for manifest, infos in inventory.manifests:
        record_manifest(job, manifest, infos, ids)
    left = dict(inventory.left) | {video.uri: item.left for video, item in ended if item.left is not None}
    remember_left(job.lake, [*left, *ids], left)
    _clear_away(job.lake.root)
    rejects = [*duplicates, *(item.reject for item in done if item.reject is not None)]
    summary = IngestSummary(
        num_files=inventory.num_files,
        num_known=plan.num_known + len(plan.moved),
        num_known_rejected=plan.num_known_rejected,
        num_moved=len(plan.moved),
        num_left=len(left),
        left_by_reason=Counter(why.reason for why in left.values()),
        num_ingested=sum(item.video is not None for item in done),
        num_rejected=len(rejects),
        num_frames_kept=sum(item.pack.num_frames for item in done if item.pack is not None),
        why_nothing=None if left or any(item.video for item in done) else _why_nothing(job, before, inventory, config),
    )
    _count(summary)
    _say_summary(summary)
    if inventory.num_forgotten:
        say(f"ingest: {inventory.num_forgotten} more files are of videos or patients that were forgotten, and are left out")
    say_what_is_left(left)
    say_flagged(job.lake)
    if rejects:
        say("rejected: " + rejects_in_words((reject.uri, reject.reason, reject.detail) for reject in rejects))
    raise_if_filter_failed(left)
    return summary


def _why_nothing(job: Job, before: Decided, inventory: Inventory, config: IngestConfig) -> str | None:
    """The reasons for which all files were rejected; None if one of them was ingested before."""
    if any(video.video_id in before.first_of for video in inventory.videos):
        return None
    return recorded_rejects_in_words(job.lake, [video.uri for video in inventory.videos], ingest_key(config))


def _count(summary: IngestSummary) -> None:
    """For the command's summary, which may be read elsewhere: counts, and no name of a file."""
    tally = current_tally()
    tally.facts["files"] = {
        "found": summary.num_files,
        "known": summary.num_known,
        "known_rejected": summary.num_known_rejected,
        "moved": summary.num_moved,
        "ingested": summary.num_ingested,
        "rejected": summary.num_rejected,
        "left": summary.num_left,
        "left_by_reason": dict(sorted(summary.left_by_reason.items())),
    }
    tally.not_done += [f"ingest: {count} files left for the next run: {reason}" for reason, count in sorted(summary.left_by_reason.items())]


def _say_summary(summary: IngestSummary) -> None:
    say(
        f"ingest: {summary.num_files} files, {summary.num_known} known already"
        + (f" ({summary.num_known_rejected} of them rejected)" if summary.num_known_rejected else "")
        + f", {summary.num_ingested} ingested, "
        f"{summary.num_rejected} rejected, {summary.num_frames_kept} frames kept"
        + (f", {summary.num_moved} of those known have moved" if summary.num_moved else "")
        + (f", {summary.num_left} left for the next run" if summary.num_left else "")
    )


def _clear_away(root: Path) -> None:
    """Remove what killed runs have left in a lake."""
    for folder in ("frames", "staging"):
        remove_abandoned(root / folder, older_than_s=ABANDONED_AFTER_S)
    remove_dead_scratch(root / SCRATCH)


def _duplicate(video: VideoRef, key: str) -> Reject:
    detail = f"the same content as video {video.video_id[:16]}"
    return Reject(uri=video.uri, video_id=video.video_id, ingest_key=key, num_bytes=video.num_bytes, reason="duplicate", detail=detail)

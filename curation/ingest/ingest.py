"""One video in; its frames as frame packs, every sampled frame as a row, or a reject with its reason.

Two passes that together hold one decoded frame: the first decodes, measures and encodes each sample, writing the JPEGs to an unnamed spool
file; the second decides from the numbers of the whole video (smoothing and duplicates need the neighbours) and copies the kept JPEGs into
one pack and those that other thresholds might keep into a spare one, so that whoever reads the kept ones reads no others. If decord turns
out to be unreliable on the way, the first pass starts again with PyAV.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

import cv2
import pyarrow as pa

from curation.filters import FilterFailed, settings_of
from curation.ingest.config import IngestConfig
from curation.ingest.decide import decide, is_spare
from curation.ingest.frame_rows import frames_table, preview_rows
from curation.ingest.privacy_flags import flag_sentences, mean_hidden_share, outside_share
from curation.ingest.private_pack import write_private_pack
from curation.ingest.scan import Sample, Scan, spooled
from curation.ingest.source import scan_source
from curation.packs import PackEntry, write_pack
from curation.sources import LeftForLater, irregular, withheld
from curation.video import UnreadableVideo
from warehouse.records import DamagedImage, FramePack, IngestedVideo, Left, PrivatePack, Reject, VideoInfo, VideoRef, VideoRow
from warehouse.schema import TABLES
from warehouse.store import content_id, is_whole_parquet, read_json, write_json, write_parquet

__all__ = ["INGEST_VERSION", "SCRATCH", "evidence_path", "ingest_key", "ingest_video", "left_for_later", "reject_for_failure"]

INGEST_VERSION = 6
SCRATCH = "staging/scratch"
"""where, below the lake's root, fetched and unwrapped files lie while they are decoded"""

LIMITS = ("timeout_s", "max_memory_mb", "max_frames", "max_pixels", "settle_s", "cache_gb", "retry_failed", "rehash")
"""settings that say what is not tried, or when; they change nothing in what is ingested"""

_SPOOL_MEMORY_BYTES = 16 << 20


def ingest_key(config: IngestConfig) -> str:
    """Identifies everything that influences what ingest makes of a video."""
    settings = settings_of(config)
    for name in LIMITS:
        del settings[name]
    return content_id({"stage": "ingest", "version": INGEST_VERSION, "config": settings})


def ingest_video(video: VideoRef, *, lake_root: str, config: IngestConfig, patient_key: bytes | None = None) -> IngestedVideo:
    """Ingest one video; whatever is wrong with it becomes a reject. Work that was finished before is returned as it was.

    If the content is not what was identified any more, or cannot be fetched, or an installed filter fails on a frame, nothing is decided
    and `left` says why. `patient_key` is that of the pseudonyms of what a DICOM header says.

    Writes `frames/<key>/<xx>/<video_id>.tar`, `.spare.tar` and `.private.tar`, then Parquet
    `staging/ingest/<key>/<video_id>.{frames,previews,private}.parquet` and, last, `.json` beside it.

    Raises:
        OSError: the lake cannot be written to, for instance because the disk is full.
        PlugInError: an installed filter cannot be loaded.
    """
    cv2.setNumThreads(1)
    key = ingest_key(config)
    root = Path(lake_root)
    evidence = root / evidence_path(video.video_id, key)
    staging = evidence.parent
    finished = _restore(evidence, root, video)
    if finished is not None:
        return finished
    if not video.video_id:
        return _without_content(video, config)
    staging.mkdir(parents=True, exist_ok=True)
    # the spool lies in the lake, so that a full disk shows as the lake's error and /tmp need not be large
    with SpooledTemporaryFile(_SPOOL_MEMORY_BYTES, dir=str(staging)) as spool:
        try:
            scan, info = scan_source(video, config, spool, scratch=root / SCRATCH, key=patient_key)
            if not isinstance(scan, UnreadableVideo):
                decide(scan.samples, config, in_time=scan.in_time)
        except LeftForLater as reason:
            return left_for_later(reason.left)
        except FilterFailed as failure:
            return left_for_later(Left(reason="filter_failed", detail=str(failure)))
        if isinstance(scan, UnreadableVideo):
            result = reject_for_failure(video, scan.reason, str(scan), config)
        else:
            result = dataclasses.replace(_write(video, root, key, scan, spool, config), info=info)
    if result.reject is None or result.reject.reason not in ("too_large", "too_long"):  # those depend on more than the key
        write_json(evidence, result, durable=False)
    return result


def _without_content(video: VideoRef, config: IngestConfig) -> IngestedVideo:
    """A reject of what is not a file; of a file that nobody has read, nothing is decided."""
    if what := irregular(video.path):
        return reject_for_failure(video, "not_a_file", f"{what}, not a file; remove it or leave it out", config)
    try:
        os.stat(video.path)
    except OSError as error:
        return left_for_later(withheld(error, video.path))
    return left_for_later(Left(reason="changed", detail="became a file while the run went on"))


def left_for_later(left: Left) -> IngestedVideo:
    """Neither a video nor a reject."""
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=None, left=left)


def evidence_path(video_id: str, key: str) -> str:
    """Where, below the lake's root, a worker says last of all that it is done with a video under an ingest key."""
    return f"{_staged(video_id, key)}.json"


def _staged(video_id: str, key: str) -> str:
    """What the names of a video's staged files begin with."""
    return f"staging/ingest/{key[:16]}/{video_id}"


def reject_for_failure(video: VideoRef, reason: str, detail: str, config: IngestConfig) -> IngestedVideo:
    """The reject of a video that could not be ingested; also for a worker that crashed or ran out of time."""
    reject = Reject(
        uri=video.uri,
        video_id=video.video_id or None,
        ingest_key=ingest_key(config),
        num_bytes=video.num_bytes,
        reason=reason,
        detail=detail[:2000],
    )
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _restore(evidence: Path, root: Path, video: VideoRef) -> IngestedVideo | None:
    """The result of an earlier, finished run, where all its files are still there; under the name that the file has now."""
    if not video.video_id or not evidence.exists():
        return None
    try:
        saved = read_json(evidence)
    except ValueError:  # a power cut came before it was on the disk
        return None
    row = VideoRow(**saved["video"]) if saved["video"] else None
    pack, spare = (FramePack(**saved[name]) if saved[name] else None for name in ("pack", "spare"))
    private = PrivatePack(**saved["private"]) if saved.get("private") else None
    reject = Reject(**saved["reject"]) if saved["reject"] else None
    parts = [part for part in (saved["frames_part"], saved["previews_part"], private.part if private else None) if part]
    if not all(is_whole_parquet(root / part) for part in parts):
        return None
    for written in (pack, spare, private):
        if written and (not (root / written.path).exists() or (root / written.path).stat().st_size != written.num_bytes):
            return None
    return IngestedVideo(
        video=dataclasses.replace(row, uri=video.uri) if row else None,
        pack=pack,
        frames_part=saved["frames_part"],
        previews_part=saved["previews_part"],
        reject=dataclasses.replace(reject, uri=video.uri) if reject else None,
        info=VideoInfo(**saved["info"]) if saved.get("info") else None,
        spare=spare,
        damaged_images=tuple(DamagedImage(**row) for row in saved.get("damaged_images", ())),
        private=private,
    )


def _write(video: VideoRef, root: Path, key: str, scan: Scan, spool: IO[bytes], config: IngestConfig) -> IngestedVideo:
    report, samples = scan.report, scan.samples
    ids = [f"{video.video_id[:16]}-{key[:8]}-{sample.pts_us:011d}" for sample in samples]
    kept = [(frame_id, sample) for frame_id, sample in zip(ids, samples, strict=True) if sample.drop_reason is None]
    spared = [(frame_id, sample) for frame_id, sample in zip(ids, samples, strict=True) if is_spare(sample)]
    places: dict[str, tuple[str, PackEntry]] = {}
    path = f"frames/{key[:8]}/{video.video_id[:2]}/{video.video_id}"
    pack = _pack(video, root, f"{path}.tar", kept, spool, places)
    spare = _pack(video, root, f"{path}.spare.tar", spared, spool, places) if config.store_dropped else None
    part = _staged(video.video_id, key)
    private = write_private_pack(
        root,
        f"{path}.private.tar",
        f"{part}.private.parquet",
        list(zip(ids, samples, strict=True)),
        spool,
        config,
        video_id=video.video_id,
        ingest_key=key,
    )
    write_parquet(root / f"{part}.frames.parquet", frames_table(video, key, scan, ids, places), durable=False)
    previews = preview_rows(key, ids, samples, spool)
    write_parquet(root / f"{part}.previews.parquet", pa.Table.from_pylist(previews, TABLES["previews"]), durable=False)
    row = VideoRow(
        video_id=video.video_id,
        ingest_key=key,
        uri=video.uri,
        num_bytes=video.num_bytes,
        **dataclasses.asdict(scan.header),
        num_frames_decoded=report.num_frames_decoded,
        num_frames_skipped=report.num_frames_skipped,
        num_frames_sampled=len(samples),
        num_frames_kept=len(kept),
        content_area=scan.area.shape,
        decoder=report.decoder,
        decoder_version=report.decoder_version,
        status="partial" if report.problems else "ok",
        warning="; ".join([*report.problems, *report.notes, *flag_sentences(samples, config)]) or None,
        pack_id=pack.pack_id if pack else None,
        num_frames_boxed=sum(bool(sample.text_boxes) for sample in samples),
        text_share=mean_hidden_share(samples),
        out_of_body_share=outside_share(samples),
    )
    return IngestedVideo(
        video=row,
        pack=pack,
        frames_part=f"{part}.frames.parquet",
        previews_part=f"{part}.previews.parquet",
        reject=None,
        spare=spare,
        damaged_images=tuple(
            DamagedImage(video_id=video.video_id, ingest_key=key, uri=video.image_uri(position), detail=detail)
            for position, detail in sorted(scan.damaged_images.items())
        ),
        private=private,
    )


def _pack(
    video: VideoRef,
    root: Path,
    path: str,
    frames: list[tuple[str, Sample]],
    spool: IO[bytes],
    places: dict[str, tuple[str, PackEntry]],
) -> FramePack | None:
    """Pack some of the frames, where there are any, and note where each came to lie."""
    if not frames:
        return None
    written = write_pack(root / path, ((frame_id, spooled(spool, sample)) for frame_id, sample in frames))
    places.update((entry.frame_id, (written.pack_id, entry)) for entry in written.entries)
    return FramePack(pack_id=written.pack_id, video_id=video.video_id, path=path, num_bytes=written.num_bytes, num_frames=len(frames))

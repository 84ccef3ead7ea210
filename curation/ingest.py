"""One video in; its kept frames as a frame pack, every sampled frame as a row, or a reject with its reason.

Two passes that together hold one decoded frame: the first decodes, measures and encodes each sample, writing the JPEGs to an unnamed spool
file; the second decides from the numbers of the whole video (smoothing and duplicates need the neighbours) and copies the kept JPEGs into
the pack. If decord turns out to be unreliable on the way, the first pass starts again with PyAV.
"""

from __future__ import annotations

import dataclasses
import glob
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Literal

import cv2
import numpy as np
import pyarrow as pa

from curation.config import IngestConfig
from curation.content_area import ContentArea, content_mask, find_content_area, full_area
from curation.pack import PackEntry, WrittenPack, write_pack
from curation.phash import hamming, near_duplicate_runs, perceptual_hash
from curation.privacy import color_profile, out_of_body_scores, pixelated, smooth_scores
from curation.quality import FILTER_WIDTH, FrameQuality, inner_mask, measure, quality_verdict, shrink
from curation.video import (
    DecoderDisagreement,
    DecodeReport,
    PacketIndex,
    SampledFrame,
    UnreadableVideo,
    VideoProbe,
    index_packets,
    overview_frames,
    probe,
    sample_frames,
)
from warehouse.records import FramePack, IngestedVideo, Reject, VideoRef, VideoRow
from warehouse.schema import TABLES
from warehouse.store import content_id, file_sha256, read_json, write_json, write_parquet

__all__ = ["INGEST_VERSION", "evidence_path", "find_videos", "hash_video", "ingest_key", "ingest_video", "reject_for_failure"]

INGEST_VERSION = 1

SIDECAR_SUFFIXES = (
    ".parquet",
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".txt",
    ".md",
    ".xml",
    ".yaml",
    ".yml",
    ".srt",
    ".vtt",
    ".log",
    ".sha256",
)
"""Files that are left alone, without a reject, when a folder is searched. Named directly, they are tried like any other file."""

_PRIVACY_REASONS = ("out_of_body",)
_PREVIEWS_PER_REASON = 3
_PREVIEW_WIDTH = 160
_PREVIEW_COLUMNS = 12
_SPOOL_MEMORY_BYTES = 16 << 20
_FREEZE_HASH_DISTANCE = 2  # bits near the median flip with the coding noise of an unchanged picture


def ingest_key(config: IngestConfig) -> str:
    """Identifies everything that influences what ingest makes of a video."""
    settings = dataclasses.asdict(config)
    del settings["timeout_s"]
    return content_id({"stage": "ingest", "version": INGEST_VERSION, "config": settings})


def find_videos(inputs: Sequence[str]) -> tuple[Path, ...]:
    """Expand files, folders (recursive, without hidden and sidecar files) and globs to a sorted list of absolute paths.

    Raises:
        FileNotFoundError: an input matches nothing, or there is no file at all.
        PermissionError: a folder cannot be listed.
    """
    found: set[Path] = set()
    for name in inputs:
        path = Path(name).expanduser()
        if path.is_dir():
            found.update(_walk(path))
        elif path.exists() or path.is_symlink():
            found.add(path)
        else:
            matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
            if not matches:
                raise FileNotFoundError(f"{name!r} is no file, folder or glob that matches anything; check the path")
            for match in matches:
                found.update(_walk(match) if match.is_dir() else [match])
    if not found:
        listed = ", ".join(repr(name) for name in inputs) or "no input"
        raise FileNotFoundError(f"no video found in {listed}; name a video file or a folder that holds some")
    return tuple(sorted({Path(os.path.abspath(path)) for path in found}))


def _walk(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise PermissionError(
            f"folder {error.filename!r} cannot be listed ({error.strerror}); grant read access or leave it out"
        ) from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in names if not name.startswith(".") and not name.lower().endswith(SIDECAR_SUFFIXES)]
    return files


def hash_video(path: str) -> VideoRef:
    """Identify a file by its content. A file that cannot be read gets an empty id, and `ingest_video` rejects it."""
    absolute = os.path.abspath(path)
    try:
        return VideoRef(video_id=file_sha256(Path(absolute)), path=absolute, num_bytes=os.path.getsize(absolute))
    except OSError:
        return VideoRef(video_id="", path=absolute, num_bytes=0)


def ingest_video(video: VideoRef, *, lake_root: str, config: IngestConfig) -> IngestedVideo:
    """Ingest one video; whatever is wrong with it becomes a reject. Work that was finished before is returned as it was.

    Writes `frames/<key>/<xx>/<video_id>.tar`, `staging/ingest/<key>/<video_id>.{frames,previews}.parquet` and, last, `.json` beside them.

    Raises:
        OSError: the lake cannot be written to, for instance because the disk is full.
    """
    cv2.setNumThreads(1)
    key = ingest_key(config)
    root = Path(lake_root)
    evidence = root / evidence_path(video.video_id, config)
    staging = evidence.parent
    finished = _restore(evidence, root, video)
    if finished is not None:
        return finished
    if not video.video_id:
        return reject_for_failure(video, "unreadable", "the file cannot be read; grant read access", config)
    staging.mkdir(parents=True, exist_ok=True)
    # the spool lies in the lake, so that a full disk shows as the lake's error and /tmp need not be large
    with SpooledTemporaryFile(_SPOOL_MEMORY_BYTES, dir=str(staging)) as spool:
        scan = _scan(video.path, config, spool)
        if isinstance(scan, UnreadableVideo):
            result = reject_for_failure(video, scan.reason, str(scan), config)
        else:
            _decide(scan.samples, config)
            result = _write(video, root, key, scan, spool)
    if result.reject is None or result.reject.reason != "unreadable":
        write_json(evidence, result)
    return result


def evidence_path(video_id: str, config: IngestConfig) -> str:
    """Where, below the lake's root, a worker says last of all that it is done with a video."""
    return f"staging/ingest/{ingest_key(config)[:16]}/{video_id}.json"


def reject_for_failure(video: VideoRef, reason: str, detail: str, config: IngestConfig) -> IngestedVideo:
    """The reject of a video that could not be ingested; also for a worker that crashed or ran out of time."""
    reject = Reject(
        uri=_uri(video),
        video_id=video.video_id or None,
        ingest_key=ingest_key(config),
        num_bytes=video.num_bytes,
        reason=reason,
        detail=detail[:2000],
    )
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _uri(video: VideoRef) -> str:
    return Path(video.path).as_uri()


def _restore(evidence: Path, root: Path, video: VideoRef) -> IngestedVideo | None:
    """The result of an earlier, finished run, where all its files are still there; under the name that the file has now."""
    if not video.video_id or not evidence.exists():
        return None
    saved = read_json(evidence)
    row = VideoRow(**saved["video"]) if saved["video"] else None
    pack = FramePack(**saved["pack"]) if saved["pack"] else None
    reject = Reject(**saved["reject"]) if saved["reject"] else None
    parts = [part for part in (saved["frames_part"], saved["previews_part"]) if part]
    if not all((root / part).exists() for part in parts):
        return None
    if pack and (not (root / pack.path).exists() or (root / pack.path).stat().st_size != pack.num_bytes):
        return None
    return IngestedVideo(
        video=dataclasses.replace(row, uri=_uri(video)) if row else None,
        pack=pack,
        frames_part=saved["frames_part"],
        previews_part=saved["previews_part"],
        reject=dataclasses.replace(reject, uri=_uri(video)) if reject else None,
    )


# ------------------------------------------------------------------------------------------------------------ first pass


@dataclass(slots=True, kw_only=True)
class _Sample:
    """A sampled frame without its pixels."""

    frame_index: int
    pts_us: int
    quality: FrameQuality
    colors: np.ndarray
    phash: int
    is_corrupt: bool
    spool_offset: int
    spool_size: int
    out_of_body: float = 0.0
    drop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the first pass leaves for the second, beside the spool."""

    header: VideoProbe
    area: ContentArea
    stored_size: tuple[int, int]
    samples: list[_Sample]
    report: DecodeReport


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The content area at the two sizes in which it is used."""

    stored_size: tuple[int, int]
    stored_mask: np.ndarray
    filter_size: tuple[int, int]
    filter_mask: np.ndarray


def _find_area(path: str, header: VideoProbe) -> ContentArea:
    frames = overview_frames(path, num_frames=8, max_side=480)
    if not frames:
        return full_area(header.width, header.height)
    is_turned = (frames[0].shape[1] > frames[0].shape[0]) != (header.width > header.height)
    size = (header.height, header.width) if is_turned else (header.width, header.height)
    return find_content_area(frames, size=size)


def _geometry(area: ContentArea, config: IngestConfig) -> _Geometry:
    scale = min(1.0, config.max_side / max(area.width, area.height)) if config.max_side else 1.0
    stored = (max(1, round(area.width * scale)), max(1, round(area.height * scale)))
    filtered = (FILTER_WIDTH, max(1, round(FILTER_WIDTH * area.height / area.width)))
    return _Geometry(stored, content_mask(area, stored[::-1]), filtered, inner_mask(content_mask(area, filtered[::-1])))


def _scan(path: str, config: IngestConfig, spool: IO[bytes]) -> _Scan | UnreadableVideo:
    """Decode, measure and spool every sample; what is wrong with the file is returned.

    Raises:
        OSError: the spool cannot be written.
    """
    try:
        header = probe(path)
        if header.width * header.height > config.max_pixels:
            size = f"{header.width}x{header.height}"
            return UnreadableVideo("too_large", f"pictures of {size} exceed max_pixels={config.max_pixels}; raise the limit to take them")
        area = _find_area(path, header)
        index = index_packets(path)
        if config.decoder == "decord":
            try:
                return _scan_with("decord", path, header, area, config, spool, index)
            except DecoderDisagreement:
                spool.seek(0)
                spool.truncate()
        return _scan_with("pyav", path, header, area, config, spool, index)
    except UnreadableVideo as failure:
        return failure
    except (ValueError, RuntimeError, ArithmeticError, LookupError, cv2.error) as failure:
        # what hostile content can provoke in libraries; it must not take the other videos with it
        return UnreadableVideo("undecodable", f"{type(failure).__name__}: {failure}")


def _scan_with(
    decoder: Literal["decord", "pyav"],
    path: str,
    header: VideoProbe,
    area: ContentArea,
    config: IngestConfig,
    spool: IO[bytes],
    index: PacketIndex,
) -> _Scan:
    report = DecodeReport()
    geometry = _geometry(area, config)
    samples: list[_Sample] = []
    previous: np.ndarray | None = None
    for frame in sample_frames(path, fps=config.fps, decoder=decoder, report=report, index=index):
        crop = frame.rgb[area.y : area.y + area.height, area.x : area.x + area.width]
        sample, previous = _measure(frame, crop, geometry, previous)
        jpeg = _encode(crop, geometry, config.jpeg_quality)
        sample.spool_offset, sample.spool_size = spool.tell(), len(jpeg)
        spool.write(jpeg)
        samples.append(sample)
    if not samples:
        raise UnreadableVideo("undecodable", "; ".join(["no frame could be decoded", *report.problems]))
    return _Scan(header, area, geometry.stored_size, samples, report)


def _measure(frame: SampledFrame, crop: np.ndarray, geometry: _Geometry, previous: np.ndarray | None) -> tuple[_Sample, np.ndarray]:
    small = shrink(crop, *geometry.filter_size)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    sample = _Sample(
        frame_index=frame.frame_index,
        pts_us=frame.pts_us,
        quality=measure(small, gray, previous, geometry.filter_mask),
        colors=color_profile(small, geometry.filter_mask),
        phash=perceptual_hash(gray, geometry.filter_mask),
        is_corrupt=frame.is_corrupt,
        spool_offset=0,
        spool_size=0,
    )
    return sample, gray


def _encode(crop: np.ndarray, geometry: _Geometry, quality: int) -> bytes:
    """The crop as JPEG at its stored size, black outside the content area: text that lies there must not be stored."""
    bgr = cv2.cvtColor(shrink(crop, *geometry.stored_size), cv2.COLOR_RGB2BGR)
    bgr[geometry.stored_mask == 0] = 0
    is_done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_done:
        raise ValueError(f"OpenCV could not encode a {bgr.shape[1]}x{bgr.shape[0]} picture as JPEG")
    return bytes(jpeg)


# ----------------------------------------------------------------------------------------------------------- second pass


def _decide(samples: list[_Sample], config: IngestConfig) -> None:
    """Give every sample its smoothed score and, where it is dropped, the first reason that applies."""
    scores = smooth_scores(out_of_body_scores([sample.colors for sample in samples]), _window(samples, config))
    for position, (sample, score) in enumerate(zip(samples, scores, strict=True)):
        sample.out_of_body = float(score)
        if sample.is_corrupt:
            sample.drop_reason = "corrupt"
        elif score > config.max_out_of_body:
            sample.drop_reason = "out_of_body"
        else:
            _, sample.drop_reason = quality_verdict(sample.quality, config)
        if sample.drop_reason is None and position and sample.quality.motion < config.freeze_motion:
            if hamming(sample.phash, samples[position - 1].phash) <= _FREEZE_HASH_DISTANCE:
                sample.drop_reason = "frozen"
    kept = [sample for sample in samples if sample.drop_reason is None]
    for run in near_duplicate_runs([sample.phash for sample in kept], config.max_hash_distance):
        sharpest = max(run, key=lambda position: (kept[position].quality.blur, -position))
        for position in run:
            if position != sharpest:
                kept[position].drop_reason = "near_duplicate"


def _window(samples: list[_Sample], config: IngestConfig) -> int:
    """Samples in the smoothing window: an odd number."""
    if len(samples) < 2:
        return 1
    interval_s = (samples[-1].pts_us - samples[0].pts_us) / 1e6 / (len(samples) - 1)
    return 2 * math.floor(config.out_of_body_window_s / 2 / interval_s) + 1


def _write(video: VideoRef, root: Path, key: str, scan: _Scan, spool: IO[bytes]) -> IngestedVideo:
    header, report, samples = scan.header, scan.report, scan.samples
    ids = [f"{video.video_id[:16]}-{key[:8]}-{sample.pts_us:011d}" for sample in samples]
    kept = [(frame_id, sample) for frame_id, sample in zip(ids, samples, strict=True) if sample.drop_reason is None]
    pack: FramePack | None = None
    written = WrittenPack(pack_id="", num_bytes=0, entries=())
    if kept:
        pack_path = f"frames/{key[:8]}/{video.video_id[:2]}/{video.video_id}.tar"
        written = write_pack(root / pack_path, ((frame_id, _spooled(spool, sample)) for frame_id, sample in kept))
        pack = FramePack(
            pack_id=written.pack_id, video_id=video.video_id, path=pack_path, num_bytes=written.num_bytes, num_frames=len(kept)
        )
    part = f"staging/ingest/{key[:16]}/{video.video_id}"
    rows = _frame_rows(video, key, scan, ids, pack, written.entries)
    write_parquet(root / f"{part}.frames.parquet", pa.Table.from_pylist(rows, TABLES["frames"]))
    previews = _previews(key, ids, samples, spool)
    write_parquet(root / f"{part}.previews.parquet", pa.Table.from_pylist(previews, TABLES["previews"]))
    row = VideoRow(
        video_id=video.video_id,
        ingest_key=key,
        uri=_uri(video),
        num_bytes=video.num_bytes,
        container=header.container,
        codec=header.codec,
        width=header.width,
        height=header.height,
        fps=header.fps,
        duration_s=header.duration_s,
        num_frames_declared=header.num_frames_declared,
        num_frames_decoded=report.num_frames_decoded,
        num_frames_sampled=len(samples),
        num_frames_kept=len(kept),
        content_area=scan.area.shape,
        decoder=report.decoder,
        decoder_version=report.decoder_version,
        status="partial" if report.problems else "ok",
        warning="; ".join(report.problems) or None,
        pack_id=pack.pack_id if pack else None,
    )
    return IngestedVideo(video=row, pack=pack, frames_part=f"{part}.frames.parquet", previews_part=f"{part}.previews.parquet", reject=None)


def _spooled(spool: IO[bytes], sample: _Sample) -> bytes:
    spool.seek(sample.spool_offset)
    return spool.read(sample.spool_size)


def _frame_rows(
    video: VideoRef, key: str, scan: _Scan, ids: list[str], pack: FramePack | None, entries: Iterable[PackEntry]
) -> list[dict[str, object]]:
    places = {entry.frame_id: entry for entry in entries}
    rows: list[dict[str, object]] = []
    for frame_id, sample in zip(ids, scan.samples, strict=True):
        place = places.get(frame_id)
        quality = sample.quality
        rows.append(
            {
                "frame_id": frame_id,
                "video_id": video.video_id,
                "ingest_key": key,
                "frame_index": sample.frame_index,
                "pts_us": sample.pts_us,
                "decoder": scan.report.decoder,
                "crop_x": scan.area.x,
                "crop_y": scan.area.y,
                "crop_width": scan.area.width,
                "crop_height": scan.area.height,
                "blur": quality.blur,
                "luma": quality.luma,
                "dark_share": quality.dark_share,
                "bright_share": quality.bright_share,
                "specular_share": quality.specular_share,
                "motion": None if math.isnan(quality.motion) else quality.motion,
                "out_of_body": sample.out_of_body,
                "phash": f"{sample.phash:016x}",
                "keep": place is not None,
                "drop_reason": sample.drop_reason,
                "pack_id": pack.pack_id if pack and place else None,
                "byte_offset": place.byte_offset if place else None,
                "byte_size": place.byte_size if place else None,
                "width": scan.stored_size[0] if place else None,
                "height": scan.stored_size[1] if place else None,
                "sha256": place.sha256 if place else None,
            }
        )
    return rows


def _previews(key: str, ids: list[str], samples: list[_Sample], spool: IO[bytes]) -> list[dict[str, object]]:
    """Small pictures of up to three dropped frames per reason: the first, the middle and the last."""
    dropped: dict[str, list[int]] = defaultdict(list)
    for position, sample in enumerate(samples):
        if sample.drop_reason:
            dropped[sample.drop_reason].append(position)
    rows: list[dict[str, object]] = []
    for reason, positions in sorted(dropped.items()):
        chosen = sorted({positions[round(i * (len(positions) - 1) / (_PREVIEWS_PER_REASON - 1))] for i in range(_PREVIEWS_PER_REASON)})
        for position in chosen:
            picture = np.asarray(cv2.imdecode(np.frombuffer(_spooled(spool, samples[position]), np.uint8), cv2.IMREAD_COLOR))
            height = max(1, round(_PREVIEW_WIDTH * picture.shape[0] / picture.shape[1]))
            small = cv2.resize(picture, (_PREVIEW_WIDTH, height), interpolation=cv2.INTER_AREA)
            if reason in _PRIVACY_REASONS:
                small = pixelated(small, _PREVIEW_COLUMNS)
            _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
            rows.append({"frame_id": ids[position], "ingest_key": key, "drop_reason": reason, "jpeg": bytes(jpeg)})
    return rows

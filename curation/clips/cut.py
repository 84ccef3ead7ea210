"""One video in; its clips as a pack of MP4s and a row for each, kept or refused, or a reject with its reason.

The video is decoded once, every frame by presentation time, and each is looked at where a window asks for it. At most one window's small
pictures are in memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from curation.clips.config import ClipConfig
from curation.clips.measure import Piece
from curation.clips.verdict import Verdict, judge
from curation.clips.windows import Moment, Window, windows_of
from curation.filters import FilterFailed
from curation.ingest import SCRATCH, IngestConfig, Survey, opened_stream, refuse_changed, refuse_large, survey_part, survey_video
from curation.packs import PackEntry, write_pack
from curation.privacy import Box, blacked_out
from curation.sources import LeftForLater, identify, is_uri
from curation.video import (
    DecodeReport,
    SampledFrame,
    Sampling,
    UnreadableVideo,
    choose_sampling,
    encode_clip,
    index_packets,
    probe,
    sample_frames,
)
from warehouse.records import Left, VideoRef
from warehouse.schema import TABLES
from warehouse.store import content_id, is_whole_parquet, read_json, write_json, write_parquet

__all__ = ["CLIPS_VERSION", "ClipVideo", "CutVideo", "clip_key", "cut_key", "cut_video", "evidence_path"]

CLIPS_VERSION = 2
"""raise when the same video and settings would give other clips"""

_GROUP = 30
_FAULTS = (ValueError, RuntimeError, ArithmeticError, LookupError, cv2.error)
"""what hostile content can provoke in libraries; it must not take the other videos with it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipVideo:
    """A video to cut, and what the lake says of it."""

    video: VideoRef
    ingest_key: str
    ingest: IngestConfig
    """settings of its ingest: frames are looked at by the same"""
    cut_key: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutVideo:
    """What came of it: rows and a pack, or a reject, or neither where it is left for the next run."""

    row: dict[str, Any] | None = None
    """row of the table clip_videos, without run_id"""
    part: str | None = None
    """staged Parquet of its rows of the table clips"""
    reason: str | None = None
    """why it could not be read"""
    detail: str = ""
    left: Left | None = None


def clip_key(config: ClipConfig) -> str:
    """Names the settings of cutting."""
    return content_id({"stage": "clips", "version": CLIPS_VERSION, "config": config.cutting()})


def cut_key(config: ClipConfig, *, ingest_key: str, max_out_of_body: float, state: str) -> str:
    """Names one cutting of one video: by the settings, those of its ingest and the verdicts on its samples."""
    return content_id({"clip_key": clip_key(config), "ingest_key": ingest_key, "max_out_of_body": max_out_of_body, "state": state})


def evidence_path(video_id: str, key: str) -> str:
    """Where, below the lake's root, a worker says last of all that it has cut a video."""
    return f"staging/clips/{key[:16]}-{video_id}.json"


def cut_video(item: ClipVideo, *, lake_root: str, config: ClipConfig, removed: Mapping[int, str]) -> CutVideo:
    """Cut one video; whatever is wrong with it is returned. Work that was finished before is returned as it was.

    Writes clips/<key>/<xx>/<video_id>.tar, then Parquet and, last, evidence in the staging folder.

    Args:
        item: what to cut.
        lake_root: the lake's folder.
        config: of the clips.
        removed: why nothing may be shown that has one of these perceptual hashes.

    Raises:
        OSError: the lake cannot be written to.
    """
    cv2.setNumThreads(1)
    root = Path(lake_root)
    evidence = root / evidence_path(item.video.video_id, item.cut_key)
    if found := _restored(evidence, root):
        return found
    evidence.parent.mkdir(parents=True, exist_ok=True)
    try:
        _insist_on_content(item.video)
        with opened_stream(item.video, item.ingest, scratch=root / SCRATCH) as (local, _, problems):
            made = _cut(item, local.path, problems, root, config, removed)
        refuse_changed(item.video)
    except LeftForLater as reason:
        return CutVideo(left=reason.left)
    except FilterFailed as failure:
        return CutVideo(left=Left(reason="filter_failed", detail=str(failure)))
    except UnreadableVideo as failure:
        made = CutVideo(reason=failure.reason, detail=str(failure))
    except _FAULTS as failure:
        made = CutVideo(reason="undecodable", detail=f"{type(failure).__name__}: {failure}"[:2000])
    write_json(evidence, made, durable=False)
    return made


def _insist_on_content(video: VideoRef) -> None:
    """Stop if the file is not what was ingested; where nobody noted its size and time, it is read for that.

    Raises:
        LeftForLater: it is not, or cannot be read now.
    """
    if video.version is None and not is_uri(video.path):
        found = identify(video)
        if isinstance(found, Left):
            raise LeftForLater(found)
        if found.video_id != video.video_id:
            raise LeftForLater(Left(reason="changed", detail="is not the file that was ingested; ingest it"))
    refuse_changed(video)


def _restored(evidence: Path, root: Path) -> CutVideo | None:
    if not evidence.exists():
        return None
    try:
        saved = read_json(evidence)
    except ValueError:  # a power cut came before it was on the disk
        return None
    found = CutVideo(**{**saved, "left": None})
    if found.row is None:
        return found
    path, part = found.row["path"], found.part
    is_there = path is None or ((root / path).exists() and (root / path).stat().st_size == found.row["num_bytes"])
    return found if is_there and part is not None and is_whole_parquet(root / part) else None


def _cut(item: ClipVideo, path: str, problems: Sequence[str], root: Path, config: ClipConfig, removed: Mapping[int, str]) -> CutVideo:
    video_id, key = item.video.video_id, item.cut_key
    windows = windows_of(item.moments, config)
    report = DecodeReport()
    rows: list[dict[str, Any]] = []
    pack_path = f"clips/{key[:8]}/{video_id[:2]}/{video_id}.tar"
    pieces = _pieces(path, windows, item.ingest, config, report) if windows else iter(())

    def clips() -> Iterator[tuple[str, bytes]]:
        for piece in pieces:
            row, content = _clip(piece, item, config, removed)
            rows.append(row)
            if content is not None:
                yield row["clip_id"], content

    written = write_pack(root / pack_path, clips(), suffix="mp4")
    if not written.entries:
        (root / pack_path).unlink()
    rows += _unseen(rows, windows, item, config)
    places = {entry.frame_id: entry for entry in written.entries}
    table = pa.Table.from_pylist([row | _place(places.get(row["clip_id"])) for row in rows], schema=TABLES["clips"])
    part = f"staging/clips/{key[:16]}-{video_id}.parquet"
    write_parquet(root / part, table, durable=False)
    row = {
        "video_id": video_id,
        "ingest_key": item.ingest_key,
        "clip_key": clip_key(config),
        "cut_key": key,
        "num_clips": len(rows),
        "num_kept": len(places),
        "num_frames_decoded": report.num_frames_decoded,
        "pack_id": written.pack_id if places else None,
        "path": pack_path if places else None,
        "num_bytes": written.num_bytes if places else 0,
        "warning": "; ".join([*problems, *report.problems]) or None,
    }
    return CutVideo(row=row, part=part)


def _place(entry: PackEntry | None) -> dict[str, Any]:
    names = ("byte_offset", "byte_size", "sha256")
    return {name: getattr(entry, name) if entry else None for name in names}


def _pieces(path: str, windows: Sequence[Window], ingest: IngestConfig, config: ClipConfig, report: DecodeReport) -> Iterator[Piece]:
    """The frames of each window, looked at; those of a window in which pictures change their size are several pieces."""
    header = probe(path)
    refuse_large((header.width, header.height), ingest)
    index = index_packets(path, max_packets=ingest.max_frames)
    frames = sample_frames(path, fps=0.0, decoder="pyav", report=report, index=index, thorough=True)
    surveys: dict[tuple[int, int], Survey] = {}
    sampling = choose_sampling(index, fps=1.0, keyframes=False, all_frames=False)
    for (window, size), part in itertools.groupby(_within(frames, windows, report), key=lambda each: (each[0], each[1].rgb.shape[1::-1])):
        refuse_large(size, ingest)
        if size not in surveys:
            surveys[size] = _survey(path, size, ingest, index, sampling, is_first=size == (header.width, header.height) or not surveys)
        piece = Piece(window, surveys[size], ingest, side=config.clip_side, text_us=round(config.clip_text_every_s * 1e6))
        for _, frame in part:
            piece.add(frame)
        piece.close()
        yield piece


def _survey(path: str, size: tuple[int, int], ingest: IngestConfig, index: Any, sampling: Sampling, *, is_first: bool) -> Survey:
    return survey_video(path, size, ingest) if is_first else survey_part(path, size, ingest, index, sampling)


def _within(frames: Iterable[SampledFrame], windows: Sequence[Window], report: DecodeReport) -> Iterator[tuple[Window, SampledFrame]]:
    """Each frame that lies in a window, with it; nothing is decoded after the last, and then only their number is reported."""
    number = 0
    for frame in frames:
        report.num_frames_decoded += 1  # set anew by the reader, if it comes to the end
        while number < len(windows) and frame.pts_us >= windows[number].end_us:
            number += 1
        if number == len(windows):
            return
        if frame.pts_us >= windows[number].start_us:
            yield windows[number], frame


def _clip(piece: Piece, item: ClipVideo, config: ClipConfig, removed: Mapping[int, str]) -> tuple[dict[str, Any], bytes | None]:
    """The row of one piece, and its MP4 if it is kept."""
    verdict = judge(piece.samples, config, removed=removed)
    boxes = _boxes(piece, verdict, item.moments)
    first, last = piece.samples[verdict.first], piece.samples[verdict.last]
    row = _row(item, config, first.pts_us, last.pts_us, boxes=boxes)
    hidden = blacked_out(np.full(piece.size[::-1], 255, np.uint8), boxes)
    area = piece.survey.geometry.area
    row |= {
        "num_source_frames": verdict.last - verdict.first + 1,
        "num_frames": len(verdict.shown),
        "width": piece.size[0],
        "height": piece.size[1],
        **{f"crop_{side}": getattr(area, side) for side in ("x", "y", "width", "height")},
        "text_share": float(np.mean(hidden == 0)),
        "frames_by_reason": json.dumps(verdict.frames_by_reason, sort_keys=True),
        "blur": float(np.mean([sample.scores["blur"] for sample in piece.samples[verdict.first : verdict.last + 1]])),
        "keep": verdict.drop_reason is None,
        "drop_reason": verdict.drop_reason,
    }
    if verdict.drop_reason is not None:
        return row, None
    painted = {number: blacked_out(piece.pictures[number].copy(), boxes) for number in dict.fromkeys(verdict.shown)}
    frames = (painted[number] for number in verdict.shown)
    return row, encode_clip(frames, size=piece.size, fps=config.clip_fps, crf=config.clip_crf, group=_GROUP)


def _boxes(piece: Piece, verdict: Verdict, moments: Sequence[Moment]) -> tuple[Box, ...]:
    """Every box that is over text in any frame of the clip, or in the samples of ingest in it and beside it; in the clip's pixels."""
    stored = piece.survey.geometry.stored_size
    boxes = [box for sample in piece.samples[verdict.first : verdict.last + 1] for box in sample.text_boxes or ()]
    start_us, end_us = piece.samples[verdict.first].pts_us, piece.samples[verdict.last].pts_us
    before = max((moment.pts_us for moment in moments if moment.pts_us <= start_us), default=start_us)
    after = min((moment.pts_us for moment in moments if moment.pts_us >= end_us), default=end_us)
    for moment in moments:
        if before <= moment.pts_us <= after and moment.text_boxes and (moment.width, moment.height) == stored:
            boxes += [Box(*box) for box in json.loads(moment.text_boxes)]
    return tuple(_scaled(box, stored, piece.size) for box in sorted(set(boxes)))


def _scaled(box: Box, stored: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box in a picture of another size, rounded outwards and a pixel wider where that is smaller."""
    margin = int(size != stored)
    scale_x, scale_y = size[0] / stored[0], size[1] / stored[1]
    left, top = max(0, int(box.x * scale_x) - margin), max(0, int(box.y * scale_y) - margin)
    right = min(size[0], int(np.ceil(box.right * scale_x)) + margin)
    bottom = min(size[1], int(np.ceil(box.bottom * scale_y)) + margin)
    return Box(left, top, max(0, right - left), max(0, bottom - top))


def _row(item: ClipVideo, config: ClipConfig, start_us: int, end_us: int, *, boxes: Sequence[Box]) -> dict[str, Any]:
    """The columns that every row has, and with them the clip's id."""
    identity = {
        "video_id": item.video.video_id,
        "start_us": start_us,
        "end_us": end_us,
        "clip_key": clip_key(config),
        "ingest_key": item.ingest_key,
        "boxes": [list(box) for box in boxes],
    }
    return {
        "clip_id": f"{item.video.video_id[:16]}-{content_id(identity)[:16]}",
        "video_id": item.video.video_id,
        "cut_key": item.cut_key,
        "start_us": start_us,
        "end_us": end_us,
        "seconds": (end_us - start_us) / 1e6,
        "fps": config.clip_fps,
        "text_boxes": json.dumps(identity["boxes"]),
    }


def _unseen(rows: Sequence[dict[str, Any]], windows: Sequence[Window], item: ClipVideo, config: ClipConfig) -> list[dict[str, Any]]:
    """Rows of the windows of which the decoder gave no frame."""
    found = []
    for window in windows:
        if not any(window.start_us <= row["start_us"] < window.end_us for row in rows):
            row = dict.fromkeys(TABLES["clips"].names) | _row(item, config, window.start_us, window.end_us - 1, boxes=())
            found.append(
                row | {"num_source_frames": 0, "num_frames": 0, "frames_by_reason": "{}", "keep": False, "drop_reason": "no_frame"}
            )
    return found

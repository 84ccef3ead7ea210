"""The tables of predictions: a row for each frame, for each box, and for each file that gave nothing."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from curation.ingest import Playback
from evaluation.predictor import Predictor
from flows.stages.predict_frame import PredictedFrame
from flows.stages.predict_inputs import Failure
from flows.stages.predict_video import VideoPredictions
from warehouse.records import VideoRef
from warehouse.store import atomic_file

__all__ = ["join_boxes", "join_tables", "write_boxes", "write_failures", "write_rows"]

_PLACE = ("file", "frame", "pts_s")


def write_rows(path: Path, video: VideoRef, playback: Playback, predicted: VideoPredictions, predictor: Predictor) -> None:
    """The rows of one video, without a header."""
    rows = [
        [*_place(frame, video, playback), frame.hidden or "", frame.label, *_values(frame, predictor), *_likeness(frame)]
        for frame in predicted.frames
    ]
    with atomic_file(path) as file:
        _write(file, rows)


def write_boxes(path: Path, video: VideoRef, playback: Playback, predicted: VideoPredictions) -> None:
    """The boxes of one video that count, without a header."""
    rows = [
        [*_place(frame, video, playback), box.label, f"{box.score:.6f}", *(f"{side:.2f}" for side in box.corners)]
        for frame in predicted.frames
        for box in frame.boxes
    ]
    with atomic_file(path) as file:
        _write(file, rows)


def join_tables(parts: Sequence[Path], path: Path, predictor: Predictor) -> None:
    """One table with a header of the rows of several."""
    _join(parts, path, [*_PLACE, "not_shown", "prediction", *_columns(predictor), "distance", "unlike_training"])


def join_boxes(parts: Sequence[Path], path: Path) -> None:
    """One table of boxes with a header, of those of several videos."""
    _join(parts, path, [*_PLACE, "class", "score", "x0", "y0", "x1", "y1"])


def _join(parts: Sequence[Path], path: Path, header: Sequence[str]) -> None:
    with atomic_file(path) as file:
        _write(file, [header])
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)


def write_failures(failures: Sequence[Failure], path: Path) -> None:
    """Files and reasons; no file, and no old one, where there are none."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path) as file:
        _write(file, [("file", "reason"), *failures])


def _write(file: IO[bytes], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    file.write(text.getvalue().encode("utf-8", errors="surrogateescape"))


def _place(frame: PredictedFrame, video: VideoRef, playback: Playback) -> list[object]:
    """File, number and seconds of a frame; of a still image its file and page."""
    image, page = playback.pages.get(frame.number, (0, 0))
    return [video.path, frame.number, f"{frame.position:.6f}"] if playback.in_time else [video.images[image], page, ""]


def _columns(predictor: Predictor) -> list[str]:
    """Names of what a head says."""
    if predictor.gives_masks:
        return ["foreground_share", "num_regions", "mask"]
    return ["num_boxes", "surest_score"] if predictor.gives_boxes else [f"p_{each}" for each in predictor.classes]


def _values(frame: PredictedFrame, predictor: Predictor) -> list[object]:
    if frame.hidden is not None:
        return [""] * len(_columns(predictor))
    if predictor.gives_masks:
        return [f"{frame.value:.6f}", frame.num_regions, frame.mask or ""]
    if predictor.gives_boxes:
        return [len(frame.boxes), f"{frame.value:.6f}"]
    return [f"{share:.6f}" for share in frame.probabilities]


def _likeness(frame: PredictedFrame) -> list[object]:
    return ["", ""] if frame.distance is None else [f"{frame.distance:.6f}", int(bool(frame.is_unlike))]

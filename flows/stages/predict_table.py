"""The tables of predictions: a row for each frame, and a row for each file that gave nothing."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from curation.ingest import Playback
from evaluation.predictor import Predictor
from flows.stages.predict_inputs import Failure
from flows.stages.predict_video import PredictedFrame, VideoPredictions
from warehouse.records import VideoRef
from warehouse.store import atomic_file

__all__ = ["join_tables", "write_failures", "write_rows"]


def write_rows(path: Path, video: VideoRef, playback: Playback, predicted: VideoPredictions, predictor: Predictor) -> None:
    """The rows of one video, without a header."""
    rows: list[list[Any]] = []
    for frame in predicted.frames:
        image, page = playback.pages.get(frame.number, (0, 0))
        place = [video.path, frame.number, f"{frame.position:.6f}"] if playback.in_time else [video.images[image], page, ""]
        rows.append([*place, frame.hidden or "", frame.label, *_values(frame, predictor), *_likeness(frame)])
    with atomic_file(path) as file:
        _write(file, rows)


def join_tables(parts: Sequence[Path], path: Path, predictor: Predictor) -> None:
    """One table with a header of the rows of several."""
    what = ["foreground_share", "num_regions", "mask"] if predictor.gives_masks else [f"p_{each}" for each in predictor.classes]
    with atomic_file(path) as file:
        _write(file, [["file", "frame", "pts_s", "not_shown", "prediction", *what, "distance", "unlike_training"]])
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


def _values(frame: PredictedFrame, predictor: Predictor) -> list[object]:
    if predictor.gives_masks:
        return [f"{frame.value:.6f}", frame.num_regions, frame.mask or ""]
    return [f"{share:.6f}" for share in frame.probabilities]


def _likeness(frame: PredictedFrame) -> list[object]:
    return ["", ""] if frame.distance is None else [f"{frame.distance:.6f}", int(bool(frame.is_unlike))]

"""One video predicted: its frames go through a head, and leave as rows, masks, an overlaid video and an album of findings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from PIL import Image

from curation.filters import shrink
from curation.ingest import Playback, visible_mask
from curation.video import SampledFrame, h264_writer
from evaluation.overlay import overlaid
from evaluation.predict import FramePrediction, predict_clips, predict_context, predict_frames
from evaluation.predict_config import PredictConfig
from evaluation.predictor import Predictor
from evaluation.video.clip_windows import with_windows
from evaluation.video.context_windows import with_neighbours
from flows.stages.predict_frame import PredictedFrame, positive_classes, predicted_frame, within_content
from warehouse.store import atomic_file

__all__ = ["Album", "VideoPredictions", "predict_video"]

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 90]
_THUMBNAIL_PX = 200


@dataclass(slots=True)
class Album:
    """Pictures of findings, the strongest of each second and class; on disk, however long the video is."""

    file: IO[bytes]
    places: list[tuple[int, float, str, float, tuple[int, int, int]]] = field(default_factory=list)
    """number, position, class and strength of each, and where its two pictures lie"""
    _best: dict[tuple[int, str], tuple[float, int, float, bytes, bytes]] = field(default_factory=dict)

    def offer(self, frame: PredictedFrame, pictures: Callable[[], tuple[bytes, bytes]]) -> None:
        """Keep a frame with a finding if there is no stronger one of its second; `pictures` gives the stored and the small picture."""
        second = int(frame.position)
        if self._best and second not in {each for each, _ in self._best}:
            self.close()
        label = frame.finding or ""
        before = self._best.get((second, label))
        if before is None or frame.strength > before[0]:
            self._best[second, label] = (frame.strength, frame.number, frame.position, *pictures())

    def close(self) -> None:
        """Put what is open on disk."""
        for (_, label), (strength, number, position, stored, small) in self._best.items():
            place = (self.file.seek(0, 2), len(stored), len(small))
            self.file.write(stored + small)
            self.places.append((number, position, label, strength, place))
        self._best = {}

    def stored(self, entry: int) -> bytes:
        """The picture as ingest would store it."""
        offset, size, _ = self.places[entry][4]
        self.file.seek(offset)
        return self.file.read(size)

    def small(self, entry: int) -> bytes:
        """The small overlaid picture."""
        offset, size, small = self.places[entry][4]
        self.file.seek(offset + size)
        return self.file.read(small)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPredictions:
    """All frames of one video."""

    frames: tuple[PredictedFrame, ...]
    album: Album
    seconds_in_network: float


def predict_video(
    playback: Playback, predictor: Predictor, config: PredictConfig, *, out: Path, name: str, album: IO[bytes]
) -> VideoPredictions:
    """Predict every sampled frame; writes overlays/NAME.mp4 (of stills overlays/NAME/NUMBER.jpg) and masks/NAME/NUMBER.png below `out`.

    Raises:
        UnreadableVideo: it cannot be read again.
        OSError: `out` cannot be written.
    """
    sheets = Album(album)
    found: list[PredictedFrame] = []
    seconds = 0.0
    positive = positive_classes(predictor, config)
    with _overlays(playback, out, name) as write:
        seen, predict = _seen(playback, predictor)
        for pairs in _batches(seen, config.batch_size or predictor.batch_size):
            batch = [frame for frame, _ in pairs]
            start = time.perf_counter()
            predicted = predict(predictor, [pixels for _, pixels in pairs])
            seconds += time.perf_counter() - start
            for frame, whole in zip(batch, predicted, strict=True):
                prediction = within_content(whole, frame, playback)
                row = predicted_frame(
                    frame, prediction, playback, predictor, config, positive, mask_name=f"masks/{name}/{frame.frame_index:06d}.png"
                )
                if row.mask and prediction.mask is not None:
                    _write_mask(out / row.mask, prediction.mask)
                masked = _masked(frame, playback, row)
                drawn = overlaid(
                    masked,
                    mask=prediction.mask if row.mask else None,
                    boxes=[(box.corners, f"{box.label} {box.score:.2f}") for box in row.boxes],
                    text=_text(row),
                    is_unlike=bool(row.is_unlike),
                )
                write(drawn, frame)
                found.append(row)
                if row.finding is not None:
                    sheets.offer(row, lambda frame=frame, masked=masked, drawn=drawn: (_as_stored(frame, masked, playback), _small(drawn)))  # type: ignore[misc]
        sheets.close()
    return VideoPredictions(frames=tuple(found), album=sheets, seconds_in_network=seconds)


def _seen(playback: Playback, predictor: Predictor) -> tuple[Iterator[tuple[SampledFrame, Any]], Callable[..., list[FramePrediction]]]:
    """Each frame with what the head sees of it, and what predicts a batch of these: its pixels, or windows of the frames around it.

    Raises:
        ValueError: the head reads several frames of a video, and there are stills.
    """
    if predictor.clips is None and predictor.context is None:
        return ((frame, frame.rgb) for frame in playback.frames()), predict_frames
    if not playback.in_time:
        raise ValueError("the head reads several frames of a video at once, and these are still images; give videos")
    if predictor.context is not None:
        return with_neighbours(playback.frames(), predictor.context, rgb_of=lambda frame: frame.rgb), predict_context
    assert predictor.clips is not None
    seen = with_windows(playback.frames(), predictor.clips, seconds_of=lambda frame: frame.pts_us / 1e6, rgb_of=lambda frame: frame.rgb)
    return seen, predict_clips


def _batches(frames: Iterator[tuple[SampledFrame, Any]], size: int) -> Iterator[list[tuple[SampledFrame, Any]]]:
    batch: list[tuple[SampledFrame, Any]] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _masked(frame: SampledFrame, playback: Playback, row: PredictedFrame) -> np.ndarray:
    """The frame with everything black that may not be shown."""
    if row.hidden is not None:
        return np.zeros_like(frame.rgb)
    visible = visible_mask(playback.samples[frame.frame_index], (frame.rgb.shape[0], frame.rgb.shape[1]))
    return np.asarray(cv2.bitwise_and(frame.rgb, frame.rgb, mask=visible))


def _text(row: PredictedFrame) -> str:
    if row.hidden is not None:
        return f"not shown: {row.hidden.replace('_', ' ')}"
    if row.boxes:
        return ""  # each has its own
    if row.num_regions is None:
        return f"{row.label} {row.strength:.2f}" if row.label else ""
    return f"{row.num_regions} region{'s' if row.num_regions > 1 else ''}, {row.strength:.1%} of the frame" if row.num_regions else ""


@contextlib.contextmanager
def _overlays(playback: Playback, out: Path, name: str) -> Iterator[Callable[[np.ndarray, SampledFrame], None]]:
    """Takes overlaid frames: of a video into one MP4, of stills into a JPEG each."""
    folder = out / "overlays"
    with contextlib.ExitStack() as files:
        writers: list[Callable[[np.ndarray, int], None]] = []

        def write(drawn: np.ndarray, frame: SampledFrame) -> None:
            if not playback.in_time:
                with atomic_file(folder / name / f"{frame.frame_index:06d}.jpg") as file:
                    file.write(_jpeg(drawn))
                return
            if not writers:
                writers.append(files.enter_context(h264_writer(folder / f"{name}.mp4", (drawn.shape[1], drawn.shape[0]))))
            writers[0](drawn, frame.pts_us)

        yield write


def _write_mask(path: Path, mask: np.ndarray) -> None:
    with atomic_file(path) as file:
        Image.fromarray(mask).save(file, format="PNG")


def _as_stored(frame: SampledFrame, masked: np.ndarray, playback: Playback) -> bytes:
    """The content area as a JPEG, as ingest would store it."""
    sample = playback.samples[frame.frame_index]
    area = sample.area
    return _jpeg(shrink(masked[area.y : area.y + area.height, area.x : area.x + area.width], *sample.stored_size))


def _small(drawn: np.ndarray) -> bytes:
    scale = min(1.0, _THUMBNAIL_PX / drawn.shape[1])
    return _jpeg(np.asarray(cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)))


def _jpeg(rgb: np.ndarray, options: Sequence[int] = _QUALITY) -> bytes:
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise ValueError(f"OpenCV could not encode a {rgb.shape[1]}x{rgb.shape[0]} picture as JPEG")
    return bytes(data)

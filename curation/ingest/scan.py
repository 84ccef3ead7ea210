"""First pass over a video: decode, measure and encode every sample; the JPEGs go to a spool file, the numbers stay in memory."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

import cv2
import numpy as np

from curation.filters import (
    ALL_WARM,
    SURELY_WARM,
    ContentArea,
    FilterFailed,
    Picture,
    find_imaging_mode,
    measure,
    median_saturation,
    perceptual_hash,
    room_evidence,
    shrink,
    structure_features,
    warm_share,
)
from curation.ingest.config import IngestConfig
from curation.ingest.survey import Geometry, Survey, survey_part, survey_video
from curation.privacy import Box, Search, TextMask, TextTracker, blacked_out, color_profile, masks_by_sample, search_text
from curation.video import (
    Decoder,
    DecoderDisagreement,
    DecodeReport,
    PacketIndex,
    SampledFrame,
    Sampling,
    UnreadableVideo,
    VideoProbe,
    choose_decoder,
    choose_sampling,
    index_packets,
    probe,
    sample_frames,
)

__all__ = ["Sample", "Scan", "measure_frame", "measured", "painted", "refuse_large", "scan_video", "spooled"]


@dataclass(slots=True, kw_only=True)
class Sample:
    """A sampled frame without its pixels."""

    frame_index: int
    pts_us: int
    scores: dict[str, float]
    """scores by the names of their filters; `decide` adds those that need the whole video"""
    colors: np.ndarray
    phash: int
    is_corrupt: bool
    spool_offset: int
    spool_size: int
    area: ContentArea
    stored_size: tuple[int, int]
    stored_mask: np.ndarray | None = None
    """[height, width] uint8 of that size, shared by samples: 0 outside the content area and in insets"""
    text_boxes: tuple[Box, ...] | None = None
    """what is painted black, in pixels of the stored frame; None where text was not looked for"""
    unconfirmed_boxes: tuple[Box, ...] = ()
    """those of them that are neither proven to hold text nor proven not to"""
    unpainted: tuple[int, int] | None = None
    """Offset and size in the spool of the JPEG without any box; None if no box was painted."""
    is_unaudited: bool = False
    """Whether it waits in quarantine for an audit of its unconfirmed boxes."""
    is_text_unchecked: bool = False
    """it was to be looked for, and could not be"""
    room_evidence: float = math.nan
    """log-odds of a room by structure; NaN if the colours leave no doubt, or it is too dark"""
    imaging_mode: str = "unknown"
    out_of_body: float = 0.0
    drop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What the first pass leaves for the second, beside the spool."""

    header: VideoProbe
    area: ContentArea
    """that of a still may differ, and stands in its sample"""
    samples: list[Sample]
    report: DecodeReport
    in_time: bool = True
    """neighbours are a moment apart; not so with stills"""
    damaged_images: Mapping[int, str] = field(default_factory=dict)
    """of stills: what is wrong with each image that is damaged or cannot be read, by its position"""


def scan_video(path: str, config: IngestConfig, spool: IO[bytes]) -> Scan | UnreadableVideo:
    """Decode, measure and spool every sample; what is wrong with the file is returned.

    Raises:
        OSError: the spool cannot be written.
    """
    try:
        header = probe(path)
        refuse_large((header.width, header.height), config)
        index = index_packets(path, max_packets=config.max_frames)
        surveys: dict[tuple[int, int], Survey] = {}
        sampling = choose_sampling(index, fps=config.fps, keyframes=config.keyframes, all_frames=config.all)
        decoder = "pyav" if config.thorough else config.decoder
        if decoder == "auto":
            decoder = choose_decoder(header.codec, os.path.getsize(path), sampling, index)
        try:
            scan = _scan_with(decoder, path, header, surveys, config, spool, index, sampling, thorough=config.thorough)
            if not scan.report.is_incomplete:
                return scan
            thorough = True
        except DecoderDisagreement as disagreement:
            thorough = disagreement.is_damage
        # where something is wrong every frame is looked at, whichever decoder came upon it
        spool.seek(0)
        spool.truncate()
        return _scan_with("pyav", path, header, surveys, config, spool, index, sampling, thorough=thorough)
    except UnreadableVideo as failure:
        return failure
    except FilterFailed:
        raise
    except (ValueError, RuntimeError, ArithmeticError, LookupError, cv2.error) as failure:
        # what hostile content can provoke in libraries; it must not take the other videos with it
        return UnreadableVideo("undecodable", f"{type(failure).__name__}: {failure}")


def _scan_with(
    decoder: Decoder,
    path: str,
    header: VideoProbe,
    surveys: dict[tuple[int, int], Survey],
    config: IngestConfig,
    spool: IO[bytes],
    index: PacketIndex,
    sampling: Sampling,
    *,
    thorough: bool = False,
) -> Scan:
    """Scan with one decoder. Where the pictures change their size, what follows has a content area and a look for text of its own."""
    report = DecodeReport()
    frames = sample_frames(
        path, fps=sampling.fps, keyframes=sampling.keyframes, decoder=decoder, report=report, index=index, thorough=thorough
    )
    samples: list[Sample] = []
    sizes: list[tuple[int, int]] = []
    for size, part in itertools.groupby(frames, key=lambda frame: (frame.rgb.shape[1], frame.rgb.shape[0])):
        refuse_large(size, config)
        if size not in surveys:
            surveys[size] = survey_part(path, size, config, index, sampling) if surveys else survey_video(path, size, config)
        sizes.append(size)
        samples += measured(part, surveys[size], config, spool, report)
    if not samples:
        raise UnreadableVideo("undecodable", "; ".join(["no frame could be decoded", *report.problems]))
    if len(sizes) > 1:
        named = ", ".join(f"{width}x{height}" for width, height in dict.fromkeys(sizes))
        report.notes.append(f"the pictures change their size {len(sizes) - 1} times ({named}), and each size has its own content area")
    return Scan(header, samples[0].area, samples, report)


def refuse_large(size: tuple[int, int], config: IngestConfig) -> None:
    """Stop before pictures that are larger than the settings allow.

    Raises:
        UnreadableVideo: they are.
    """
    if size[0] * size[1] > config.max_pixels:
        detail = f"pictures of {size[0]}x{size[1]} exceed max_pixels={config.max_pixels}; raise the limit to take them"
        raise UnreadableVideo("too_large", detail)


def measured(
    frames: Iterable[SampledFrame], survey: Survey, config: IngestConfig, spool: IO[bytes], report: DecodeReport, *, in_time: bool = True
) -> list[Sample]:
    """Measure and spool every frame, all of one size; if neighbours are not `in_time`, without motion and with a search of each for text.

    What two stills have at one place says nothing of a third: pooled over Kvasir-SEG, text would black out 14% of each instead of 4%.
    """
    geometry, area = survey.geometry, survey.geometry.area
    interval_us = round(config.text_interval_s * 1_000_000)
    tracker = TextTracker(interval_us=interval_us, content=geometry.stored_mask, overview=survey.searches or ())
    searches: list[Search] = []
    samples: list[Sample] = []
    previous: np.ndarray | None = None
    for frame in frames:
        crop = frame.rgb[area.y : area.y + area.height, area.x : area.x + area.width]
        sample, gray = measure_frame(frame, crop, geometry, previous)
        previous = gray if in_time else None
        stored = shrink(crop, *geometry.stored_size)
        stored = np.asarray(cv2.bitwise_and(stored, stored, mask=geometry.stored_mask))  # what lies outside must not be stored
        if survey.searches is not None and in_time:
            tracker.add(stored, frame.pts_us)
        elif survey.searches is not None:
            searches.append(search_text(stored, position=0))
        _spool(spool, sample, _jpeg(cv2.cvtColor(stored, cv2.COLOR_RGB2BGR), config.jpeg_quality))
        samples.append(sample)
    if survey.searches is not None:
        masks = tracker.masks() if in_time else [masks_by_sample([search], 1)[0] for search in searches]
        _paint_text(samples, masks, spool, config.jpeg_quality)
    failures = {search.failure for search in [*tracker.searches, *searches] if search.failure}
    report.problems += [f"text could not be looked for: {failure}" for failure in sorted(failures)]
    return samples


def _paint_text(samples: list[Sample], masks: list[TextMask | None], spool: IO[bytes], quality: int) -> None:
    """Paint text black: the only place where that is done, once all evidence is in. Until then the spool holds samples as they are."""
    for sample, mask in zip(samples, masks, strict=True):
        sample.is_text_unchecked = mask is None
        sample.text_boxes, sample.unconfirmed_boxes = mask if mask else (None, ())
        if sample.text_boxes:
            sample.unpainted = (sample.spool_offset, sample.spool_size)
            jpeg = painted(spooled(spool, sample), sample.text_boxes, quality)
            spool.seek(0, os.SEEK_END)
            _spool(spool, sample, jpeg)


def measure_frame(frame: SampledFrame, crop: np.ndarray, geometry: Geometry, previous: np.ndarray | None) -> tuple[Sample, np.ndarray]:
    """Every score of a frame that needs no other frame, and its content area small and grey.

    Args:
        frame: decoded.
        crop: its content area.
        geometry: of the video.
        previous: what this returned for the frame that motion is measured against; None for none.
    """
    small = shrink(crop, *geometry.filter_size)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    colors = color_profile(small, geometry.filter_mask)
    warm = warm_share(colors)
    sample = Sample(
        frame_index=frame.frame_index,
        pts_us=frame.pts_us,
        scores=measure(Picture(rgb=small, gray=gray, previous=previous, mask=geometry.filter_mask)),
        colors=colors,
        imaging_mode="white_light" if warm >= SURELY_WARM else find_imaging_mode(colors, median_saturation(small, geometry.filter_mask)),
        room_evidence=math.nan if warm >= ALL_WARM else room_evidence(structure_features(gray, geometry.filter_mask)),
        phash=perceptual_hash(gray, geometry.filter_mask),
        is_corrupt=frame.is_corrupt,
        spool_offset=0,
        spool_size=0,
        area=geometry.area,
        stored_size=geometry.stored_size,
        stored_mask=geometry.stored_mask,
    )
    return sample, gray


def _jpeg(bgr: np.ndarray, quality: int) -> bytes:
    is_done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not is_done:
        raise ValueError(f"OpenCV could not encode a {bgr.shape[1]}x{bgr.shape[0]} picture as JPEG")
    return bytes(jpeg)


def painted(jpeg: bytes, boxes: Sequence[Box], quality: int) -> bytes:
    """The JPEG with the boxes black; the same bytes if there is no box.

    Raises:
        ValueError: the bytes are no image.
    """
    if not boxes:
        return jpeg
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{len(jpeg)} bytes were given as a JPEG and do not decode as one; the private pack is damaged")
    return _jpeg(blacked_out(np.asarray(picture), boxes), quality)


def _spool(spool: IO[bytes], sample: Sample, jpeg: bytes) -> None:
    """Append the picture and note where it lies."""
    sample.spool_offset, sample.spool_size = spool.tell(), len(jpeg)
    spool.write(jpeg)


def spooled(spool: IO[bytes], sample: Sample) -> bytes:
    """The JPEG of a sample."""
    spool.seek(sample.spool_offset)
    return spool.read(sample.spool_size)

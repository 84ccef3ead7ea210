"""First pass over a video: decode, measure and encode every sample; the JPEGs go to a spool file, the numbers stay in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

import cv2
import numpy as np

from curation.config import IngestConfig
from curation.content_area import ContentArea, content_mask, find_content_area, full_area
from curation.phash import perceptual_hash
from curation.privacy import color_profile
from curation.quality import FILTER_WIDTH, FrameQuality, inner_mask, measure, shrink
from curation.sampling import Decoder, choose_sampling
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

__all__ = ["Sample", "Scan", "scan_video"]


@dataclass(slots=True, kw_only=True)
class Sample:
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
    stool_share: float = 0.0
    drop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What the first pass leaves for the second, beside the spool."""

    header: VideoProbe
    area: ContentArea
    stored_size: tuple[int, int]
    samples: list[Sample]
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


def scan_video(path: str, config: IngestConfig, spool: IO[bytes]) -> Scan | UnreadableVideo:
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
    decoder: Decoder,
    path: str,
    header: VideoProbe,
    area: ContentArea,
    config: IngestConfig,
    spool: IO[bytes],
    index: PacketIndex,
) -> Scan:
    report = DecodeReport()
    sampling = choose_sampling(config, index)
    geometry = _geometry(area, config)
    samples: list[Sample] = []
    previous: np.ndarray | None = None
    for frame in sample_frames(path, fps=sampling.fps, keyframes=sampling.keyframes, decoder=decoder, report=report, index=index):
        crop = frame.rgb[area.y : area.y + area.height, area.x : area.x + area.width]
        sample, previous = _measure(frame, crop, geometry, previous)
        jpeg = _encode(crop, geometry, config.jpeg_quality)
        sample.spool_offset, sample.spool_size = spool.tell(), len(jpeg)
        spool.write(jpeg)
        samples.append(sample)
    if not samples:
        raise UnreadableVideo("undecodable", "; ".join(["no frame could be decoded", *report.problems]))
    return Scan(header, area, geometry.stored_size, samples, report)


def _measure(frame: SampledFrame, crop: np.ndarray, geometry: _Geometry, previous: np.ndarray | None) -> tuple[Sample, np.ndarray]:
    small = shrink(crop, *geometry.filter_size)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    sample = Sample(
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


def spooled(spool: IO[bytes], sample: Sample) -> bytes:
    """The JPEG of a sample."""
    spool.seek(sample.spool_offset)
    return spool.read(sample.spool_size)

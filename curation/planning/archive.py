"""What an archive holds and what its ingest takes, estimated from a sample of its files within a minute; nothing is kept."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curation.ingest import IngestConfig
from curation.planning.estimate import Estimate, combined, ratio_of_sample, total_of_sample
from curation.planning.headers import Header, Headers, read_headers
from curation.planning.pieces import Piece, time_pieces
from curation.video import AUTO_FPS
from warehouse.records import VideoRef

__all__ = ["Archive", "archive_of", "probe_archive"]

_MOST_HEADERS = 2000
_HEADERS_SHARE = 0.25
"""Share of the time for headers; pieces have the rest."""
_ASSUMED_BYTES_S = 500_000.0
"""Of video, 4 Mbit/s, where no header could be read."""
_ASSUMED_CORE_S, _ASSUMED_PIXELS = 0.063, 1280 * 1024
"""Seconds of a core a second of such video: 3.8 core minutes an hour (docs/benchmarks.md)."""
_ASSUMED_KEPT, _ASSUMED_JPEG_BYTES = 0.8, 30_000.0
_ASSUMED_HASH_S = 1.0 / 400e6
_LEAST_RATE_FACTOR, _LEAST_KEPT_FACTOR, _LEAST_SAMPLED_FACTOR = 1.25, 1.15, 1.02
"""What a minute's sample never tells better: the load of the machine, and the start and end of a procedure."""
_HASHED_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What the inputs hold."""

    num_videos: int
    num_bytes: int
    num_headers: int
    """files whose header was read, or could not be"""
    num_unreadable: int
    """of these"""
    num_timed: int
    """videos of which pieces were ingested"""
    seconds: Estimate
    """of video"""
    core_s: Estimate
    """seconds of one core that ingest takes"""
    sampled: Estimate
    """frames"""
    kept: Estimate
    """frames"""
    jpeg_bytes: float
    """mean of a kept frame's JPEG"""
    stored_bytes: float
    """of a sampled frame in all packs, those of dropped and withheld frames too"""
    jpegs: tuple[bytes, ...]
    """some kept frames"""


def probe_archive(videos: Sequence[VideoRef], config: IngestConfig, *, within_s: float) -> Archive:
    """Read headers and ingest pieces of a few videos for about so many seconds, and estimate the whole from them."""
    started = time.monotonic()
    headers = read_headers(videos, most=_MOST_HEADERS, deadline=started + _HEADERS_SHARE * within_s)
    with tempfile.TemporaryDirectory(prefix="endoforge-plan-") as folder:  # frames of patients: of mode 0700, and gone afterwards
        pieces = time_pieces(headers.found, config, Path(folder), deadline=started + within_s)
    return archive_of(videos, config, headers, pieces, hash_s=_hash_s(headers))


def archive_of(videos: Sequence[VideoRef], config: IngestConfig, headers: Headers, pieces: Sequence[Piece], *, hash_s: float) -> Archive:
    """The estimate.

    Args:
        videos: all that were found.
        config: of the ingest.
        headers: of a random sample of them.
        pieces: of some of these.
        hash_s: seconds of a core for a byte of a file that is read and hashed.
    """
    num_bytes = sum(video.num_bytes for video in videos)
    seconds = _seconds(videos, num_bytes, headers)
    sampled, kept = _frames(config, seconds, pieces)
    num_kept = sum(piece.num_kept for piece in pieces)
    num_sampled = sum(piece.num_sampled for piece in pieces)
    jpeg_bytes = sum(piece.kept_bytes for piece in pieces) / num_kept if num_kept else _ASSUMED_JPEG_BYTES
    return Archive(
        num_videos=len(videos),
        num_bytes=num_bytes,
        num_headers=headers.num_read,
        num_unreadable=len(headers.unreadable),
        num_timed=len({piece.header.video.path for piece in pieces}),
        seconds=seconds,
        core_s=_core_s(videos, headers, seconds, pieces, num_bytes * hash_s),
        sampled=sampled,
        kept=kept,
        jpeg_bytes=jpeg_bytes,
        stored_bytes=sum(piece.stored_bytes for piece in pieces) / num_sampled if num_sampled else jpeg_bytes,
        jpegs=tuple(jpeg for piece in pieces for jpeg in piece.jpegs),
    )


def _seconds(videos: Sequence[VideoRef], num_bytes: int, headers: Headers) -> Estimate:
    """Of all videos together. A file that gives no header has none; one that does not say its length is like the others."""
    durations = [header.duration_s for header in headers.found] + [0.0] * len(headers.unreadable)
    if not headers.found:
        return Estimate(value=num_bytes / _ASSUMED_BYTES_S, factor=4.0, source="assumed: 4 Mbit/s, no header was read")
    mean_bytes = sum(header.video.num_bytes for header in headers.found) / len(headers.found)
    sizes = [float(header.video.num_bytes) for header in headers.found] + [mean_bytes] * len(headers.unreadable)
    told = total_of_sample(durations, sizes, count=len(videos), total_size=float(num_bytes))
    return Estimate(value=told.value, factor=told.factor, source=f"{headers.num_read:,} headers")


def _frames(config: IngestConfig, seconds: Estimate, pieces: Sequence[Piece]) -> tuple[Estimate, Estimate]:
    """Sampled and kept."""
    if not pieces:
        fps = AUTO_FPS if config.fps == "auto" else config.fps
        sampled = Estimate(value=seconds.value * fps, factor=seconds.factor, source=f"assumed: {fps:g} a second")
        kept = Estimate(value=sampled.value * _ASSUMED_KEPT, factor=combined(seconds.factor, 1.25), source=f"assumed: {_ASSUMED_KEPT:.0%}")
        return sampled, kept
    by_video: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_video[piece.header.video.path].append(piece)

    def summed(name: str) -> list[float]:
        return [float(sum(getattr(piece, name) for piece in of_video)) for of_video in by_video.values()]

    is_fixed = not (config.all or config.keyframes or config.fps == "auto")
    rate = ratio_of_sample(
        [sum(_num_sampled(piece, config) if is_fixed else piece.num_sampled for piece in of_video) for of_video in by_video.values()],
        summed("length_s"),
        least_factor=_LEAST_SAMPLED_FACTOR,
    )
    share = ratio_of_sample(summed("num_kept"), summed("num_sampled"), least_factor=_LEAST_KEPT_FACTOR)
    sampled = Estimate(
        value=seconds.value * rate.value,
        factor=combined(seconds.factor, _LEAST_SAMPLED_FACTOR if is_fixed else rate.factor),
        source=f"{rate.value:.2g} a second in {len(by_video)} videos",
    )
    kept = Estimate(
        value=sampled.value * share.value,
        factor=combined(sampled.factor, share.factor),
        source=f"{share.value:.0%} of {sum(summed('num_sampled')):,.0f} frames sampled here",
    )
    return sampled, kept


def _num_sampled(piece: Piece, config: IngestConfig) -> float:
    """Samples of a whole video, or what a piece adds to one: alone it has one more, at its start."""
    assert config.fps != "auto"
    return piece.num_sampled if piece.is_whole else piece.length_s * config.fps


def _core_s(videos: Sequence[VideoRef], headers: Headers, seconds: Estimate, pieces: Sequence[Piece], hash_s: float) -> Estimate:
    """Each video's own cost, each second of each kind of video, and reading all bytes once to hash them."""
    if not pieces:
        pixels = np.mean([header.pixels for header in headers.found if header.pixels] or [_ASSUMED_PIXELS])
        value = seconds.value * _ASSUMED_CORE_S * float(pixels) / _ASSUMED_PIXELS + hash_s
        return Estimate(value=value, factor=combined(seconds.factor, 3.0), source="assumed: docs/benchmarks.md, none timed here")
    fixed_s = _fixed_s(pieces)
    by_kind: dict[tuple[str, int], list[float]] = defaultdict(list)
    slopes: list[tuple[Header, float]] = []
    for piece in pieces:
        slope = max(piece.core_s - fixed_s, 0.05 * piece.core_s) / piece.length_s
        by_kind[piece.header.kind].append(slope)
        slopes.append((piece.header, slope))
    # of kinds that were not timed, a pixel costs what it costs in those that were
    per_pixel = sum(slope for _, slope in slopes) / sum(max(1.0, header.pixels * header.fps) for header, _ in slopes)
    drawn_s = sum(header.duration_s for header in headers.found)
    of_second = sum(
        header.duration_s * (float(np.mean(by_kind[header.kind])) if header.kind in by_kind else per_pixel * header.pixels * header.fps)
        for header in headers.found
    )
    expected = [(slope, float(np.mean(by_kind[header.kind]))) for header, slope in slopes]
    factor = _rate_factor([slope / mean for slope, mean in expected])
    unread = len(headers.unreadable) / max(1, headers.num_read)
    value = len(videos) * (1 - unread) * fixed_s + seconds.value * of_second / drawn_s + hash_s
    num_timed = len({piece.header.video.path for piece in pieces})
    return Estimate(value=value, factor=combined(seconds.factor, factor), source=f"{num_timed} videos timed here")


def _fixed_s(pieces: Sequence[Piece]) -> float:
    """What a video costs whatever its length, by the two pieces of each video of which there are two."""
    both: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        both[piece.header.video.path].append(piece)
    found = []
    for pair in both.values():
        if len(pair) == 2 and pair[0].length_s < pair[1].length_s:
            short, longer = pair
            slope = (longer.core_s - short.core_s) / (longer.length_s - short.length_s)
            found.append(min(short.core_s, max(0.0, short.core_s - slope * short.length_s)))
    return float(np.median(found)) if found else 0.0


def _rate_factor(ratios: Sequence[float]) -> float:
    if len(ratios) < 3:
        return 2.0
    return max(_LEAST_RATE_FACTOR, math.exp(1.96 * float(np.std(np.log(ratios), ddof=1)) / math.sqrt(len(ratios))))


def _hash_s(headers: Headers) -> float:
    """Seconds of a core for a byte, by the largest file of the sample; read twice, so that the disk is not timed."""
    files = [header.video for header in headers.found if not header.video.images]
    if not files:
        return _ASSUMED_HASH_S
    with open(max(files, key=lambda video: video.num_bytes).path, "rb") as file:
        content = file.read(_HASHED_BYTES)
    started = time.process_time()
    hashlib.sha256(content)
    return (time.process_time() - started) / max(1, len(content))

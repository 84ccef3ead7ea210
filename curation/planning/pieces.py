"""Pieces of a few videos, ingested for real in a folder that goes afterwards: seconds of a core, frames and bytes."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.ingest import IngestConfig, ingest_video
from curation.packs import iter_pack
from curation.planning.headers import Header
from curation.video import cut_excerpt
from warehouse.records import FramePack, VideoRef

__all__ = ["Piece", "time_pieces"]

_SHORT_S, _LONG_S = 15.0, 75.0
_MOST_JPEGS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One that was ingested."""

    header: Header
    length_s: float
    core_s: float
    """of a core"""
    num_sampled: int
    num_kept: int
    kept_bytes: int
    """of the kept frames' pack"""
    stored_bytes: int
    """of all packs"""
    is_whole: bool
    """the whole video, not a piece of it"""
    jpegs: tuple[bytes, ...] = ()
    """some of its kept frames"""


def time_pieces(headers: Sequence[Header], config: IngestConfig, folder: Path, *, deadline: float) -> tuple[Piece, ...]:
    """Ingest a short and a longer piece of one video of each kind after the other, those of most hours first, until time is up.

    Two lengths tell what a video costs by itself and what each of its seconds costs. The first piece is done twice: models are loaded and
    libraries warmed up the first time. A video that cannot be ingested gives no piece.

    Args:
        headers: of a sample of videos.
        config: of the ingest.
        folder: for pieces and packs.
        deadline: of `time.monotonic`; a piece that has begun is ended.
    """
    timed: list[Piece] = []
    numbers = itertools.count()
    is_warm = False
    for header in _by_turns(headers):
        if timed and time.monotonic() > deadline:
            break
        if not is_warm:
            _ingested(header, _SHORT_S, config, folder, next(numbers))
            is_warm = True
        started = time.monotonic()
        short = _ingested(header, _SHORT_S, config, folder, next(numbers))
        if short is None:
            continue
        timed.append(short)
        taken, left = time.monotonic() - started, deadline - time.monotonic()
        longer_s = min(_LONG_S, short.length_s * left / max(taken, 1e-3))
        if not short.is_whole and longer_s >= 2 * _SHORT_S:
            longer = _ingested(header, longer_s, config, folder, next(numbers))
            timed += [longer] if longer else []
    return tuple(timed)


def _by_turns(headers: Sequence[Header]) -> Iterator[Header]:
    """One of each kind in turn, kinds with most hours first."""
    kinds: dict[tuple[str, int], list[Header]] = defaultdict(list)
    for header in headers:
        kinds[header.kind].append(header)
    ordered = sorted(kinds.values(), key=lambda of_kind: -sum(header.duration_s for header in of_kind))
    for turn in itertools.zip_longest(*ordered):
        yield from (header for header in turn if header is not None)


def _ingested(header: Header, length_s: float, config: IngestConfig, folder: Path, number: int) -> Piece | None:
    cut = _cut(header, length_s, folder / f"{number}.mkv")
    if cut is None:
        return None
    video, length_s = cut
    started = time.process_time()
    done = ingest_video(replace(video, video_id=f"{number:064x}", version=None), lake_root=str(folder), config=config)
    core_s = time.process_time() - started
    if done.video is None:
        return None
    stored = sum(pack.num_bytes for pack in (done.pack, done.spare, done.private) if pack)
    return Piece(
        header=header,
        length_s=length_s,
        core_s=core_s,
        num_sampled=done.video.num_frames_sampled,
        num_kept=done.video.num_frames_kept,
        kept_bytes=done.pack.num_bytes if done.pack else 0,
        stored_bytes=stored,
        is_whole=length_s >= header.duration_s,
        jpegs=_jpegs(folder, done.pack),
    )


def _cut(header: Header, length_s: float, out: Path) -> tuple[VideoRef, float] | None:
    """A piece from the middle third, the whole video if it is about as short, or None if no piece can be cut of it."""
    if header.video.images:
        images = header.video.images[: int(length_s)]
        return replace(header.video, images=images), float(len(images))
    if header.duration_s <= 1.5 * length_s:
        return header.video, header.duration_s
    cut_s = cut_excerpt(header.video.path, out, start_s=header.duration_s / 3, length_s=length_s)
    return (VideoRef(video_id="", path=str(out), num_bytes=out.stat().st_size), cut_s) if cut_s else None


def _jpegs(folder: Path, pack: FramePack | None) -> tuple[bytes, ...]:
    if pack is None:
        return ()
    return tuple(jpeg for _, jpeg in itertools.islice(iter_pack(folder / pack.path), _MOST_JPEGS))

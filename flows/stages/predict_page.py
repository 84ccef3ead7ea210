"""A video's predictions as a row of the page: its curve, its episodes and the pictures of its findings."""

from __future__ import annotations

from pathlib import Path

from curation.ingest import Playback
from evaluation.episodes import Episode, find_episodes
from evaluation.predict_config import PredictConfig
from evaluation.report import ArchiveFrame, TimelineEpisode, TimelinePicture, TimelineRow
from flows.stages.nearest_frames import nearest_frames
from flows.stages.predict_frame import PredictedFrame
from flows.stages.predict_video import Album, VideoPredictions
from warehouse.lake import Lake
from warehouse.records import VideoRef

__all__ = ["timeline_row"]

_MOST_PICTURES = 24
_MOST_SEARCHED = 64
"""episodes of one video of which the archive is asked, the strongest first"""


def timeline_row(lake: Lake, video: VideoRef, playback: Playback, predicted: VideoPredictions, config: PredictConfig) -> TimelineRow:
    """The row of one video, or of the images of one folder."""
    frames, album = predicted.frames, predicted.album
    episodes = find_episodes(
        [frame.finding for frame in frames],
        [frame.strength for frame in frames],
        [frame.position for frame in frames],
        gap_s=config.episode_gap_s if playback.in_time else 0.0,
        min_frames=config.episode_frames if playback.in_time else 1,
    )
    is_known = all(frame.is_unlike is not None for frame in frames if frame.hidden is None)
    nearest, missing = _nearest(lake, video, episodes, predicted, config)
    return TimelineRow(
        name=Path(video.path).name,
        in_time=playback.in_time,
        positions=tuple(frame.position for frame in frames),
        values=tuple(frame.value for frame in frames),
        hidden=tuple(frame.hidden is not None for frame in frames),
        unlike=tuple(bool(frame.is_unlike) for frame in frames) if is_known else (),
        episodes=tuple(
            TimelineEpisode(
                start=frames[episode.first].position,
                end=frames[episode.last].position,
                label=episode.label,
                peak=frames[episode.peak].strength,
                peak_at=frames[episode.peak].position,
                nearest=nearest.get(episode, ()),
                is_searched=episode in nearest,
            )
            for episode in episodes
        ),
        pictures=_pictures(album),
        notes=playback.problems if playback.in_time else (),  # of stills the failures name each
        page_notes=(f"{missing[:1].upper()}{missing[1:]}.",) if missing else (),
    )


def _nearest(
    lake: Lake, video: VideoRef, episodes: tuple[Episode, ...], predicted: VideoPredictions, config: PredictConfig
) -> tuple[dict[Episode, tuple[ArchiveFrame, ...]], str]:
    """The archive's frames that are nearest to the peak of each episode that was searched, and what is to be said of the others."""
    if not config.nearest or not episodes:
        return {}, ""
    asked = sorted(episodes, key=lambda episode: -predicted.frames[episode.peak].strength)[:_MOST_SEARCHED]
    peaks = [_of_peak(predicted.album, predicted.frames[episode.peak]) for episode in asked]
    jpegs = [predicted.album.stored(entry) for entry in peaks]
    try:
        found, missing = nearest_frames(lake, jpegs, number=config.nearest, video_id=video.video_id)
    except (ValueError, RuntimeError, LookupError, OSError) as fault:  # the predictions stand without them
        return {}, f"nearest frames of the archive are left out: {type(fault).__name__}: {' '.join(str(fault).split())}"
    if missing:
        return {}, missing
    further = f"nearest frames are shown for the {_MOST_SEARCHED} strongest episodes of an input" if len(asked) < len(episodes) else ""
    return dict(zip(asked, found, strict=True)), further


def _of_peak(album: Album, peak: PredictedFrame) -> int:
    """The entry of the album that is nearest to a peak among those of its class."""
    entries = [entry for entry, (_, _, label, _, _) in enumerate(album.places) if label == peak.finding]
    return min(entries, key=lambda entry: abs(album.places[entry][1] - peak.position))


def _pictures(album: Album) -> tuple[TimelinePicture, ...]:
    """Some of the findings, spread over the video."""
    entries = range(0, len(album.places), max(1, -(-len(album.places) // _MOST_PICTURES)))
    return tuple(
        TimelinePicture(
            jpeg=album.small(entry), position=album.places[entry][1], label=album.places[entry][2], value=album.places[entry][3]
        )
        for entry in entries
    )

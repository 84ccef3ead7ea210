"""Flagged videos in words: what `ingest` and `run` print at their end, and what reports say."""

from __future__ import annotations

from evaluation.report import Note
from flows.runners import say
from warehouse.lake import Lake
from warehouse.private_frames import FlaggedVideo, boxed_counts, flag_counts, flagged_videos

__all__ = ["flag_notes", "say_flagged"]

_SHOWN = 10
_NAMED = 20


def say_flagged(lake: Lake) -> None:
    """Print how much boxes over text hide, the flagged videos with pictures that wait for a person, and the command that shows them."""
    num_boxed, _, _ = boxed_counts(lake)
    if num_boxed:
        say(f"text: {_boxed_sentence(lake)}")
    flagged = flagged_videos(lake)
    waiting = [video for video in flagged if video.num_waiting]
    if num_settled := sum(not video.num_waiting and not video.is_audited for video in flagged):
        say(f"flagged: {num_settled} videos without anything left to look at; the view flagged_videos lists them")
    for video in waiting[:_SHOWN]:
        say(f"flagged: {video.uri} ({_why(video)})")
    if len(waiting) > _SHOWN:
        say(f"flagged: {len(waiting) - _SHOWN} more; `endoforge sql --lake {lake.root} 'FROM flagged_videos'` lists them all")
    if waiting:
        say(f"flagged: look at what was withheld: endoforge privacy-audit --lake {lake.root} --private")


def flag_notes(lake: Lake) -> tuple[Note, ...]:
    """What a report says of boxes over text and of flagged videos."""
    notes = []
    num_boxed, _, _ = boxed_counts(lake)
    if num_boxed:
        notes.append(Note(level="info", text=f"Text: {_boxed_sentence(lake)}."))
    flagged = flagged_videos(lake)
    if flagged:
        shown = "; ".join(f"video {video.video_id[:16]} ({_why(video)})" for video in flagged[:_NAMED])  # a path may name a patient
        more = f"; {len(flagged) - _NAMED} more in the view flagged_videos" if len(flagged) > _NAMED else ""
        is_settled = all(video.is_audited for video in flagged)
        notes.append(Note(level="info" if is_settled else "warning", text=f"Flagged videos: {flag_counts(flagged)}. {shown}{more}."))
    return tuple(notes)


def _boxed_sentence(lake: Lake) -> str:
    num_boxed, num_sampled, share = boxed_counts(lake)
    return f"{num_boxed:,} of {num_sampled:,} sampled frames have a box over text; boxes hide {share:.2%} of a frame on average"


def _why(video: FlaggedVideo) -> str:
    what = f"boxes hide {video.share:.1%}" if video.flag == "text" else f"{video.share:.0%} dropped as out of body"
    if video.is_audited:
        return f"{what}; audited"
    return f"{what}; {video.num_waiting} private pictures wait for a person"

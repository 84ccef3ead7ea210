"""The inputs of predictions: what they name, each identified by its content."""

from __future__ import annotations

from collections.abc import Sequence

from curation.sources import find_videos, identify, irregular, is_uri
from warehouse.records import Left, VideoRef

__all__ = ["Failure", "find_inputs"]

Failure = tuple[str, str]
"""a file, and why it gave nothing"""


def find_inputs(inputs: Sequence[str]) -> tuple[list[VideoRef], list[Failure]]:
    """What the inputs name, sorted by path, however often each is named; and what could not be identified."""
    failures: list[Failure] = []
    usable = []
    for name in inputs:
        try:
            find_videos([name])
        except (OSError, ValueError) as error:
            failures.append((name, str(error)))
        else:
            usable.append(name)
    videos = []
    for video in find_videos(usable) if usable else ():  # all at once: the images of one folder are one row, by whatever inputs
        if is_uri(video.path):
            failures.append((video.path, "in a store; fetch it first, because predictions are made of local files"))
            continue
        identified = identify(video)
        if isinstance(identified, Left):
            failures.append((video.path, identified.detail))
        elif not identified.video_id:
            failures.append((video.path, f"{irregular(video.path) or 'no file'}; give videos and images"))
        else:
            videos.append(identified)
    return videos, failures

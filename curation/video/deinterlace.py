"""Interlaced frames made whole: a picture whose odd and even lines are of two moments would show every edge twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

from av.filter import Graph
from av.video.frame import VideoFrame

__all__ = ["deinterlaced", "with_neighbours"]

Element = TypeVar("Element")


def deinterlaced(frame: VideoFrame, before: VideoFrame | None = None, after: VideoFrame | None = None) -> VideoFrame:
    """The first field of an interlaced frame with its missing lines filled in; any other frame as it is.

    With both neighbours by FFmpeg's bwdif, which takes lines from them where nothing moves; without, by estdif, from the field alone
    (bwdif would take a missing neighbour for a still picture, and leave both fields in). Only frames that are used need this.
    """
    if not frame.interlaced_frame:
        return frame
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1))
    frames: tuple[VideoFrame, ...] = (frame, frame)
    if before is not None and after is not None and _shape(before) == _shape(frame) == _shape(after):
        filter_, frames = graph.add("bwdif", "mode=send_frame:deint=all"), (before, frame, after)
    else:
        filter_ = graph.add("estdif", "mode=frame:deint=all")
    graph.link_nodes(source, filter_, graph.add("buffersink")).configure()
    for each in frames:
        graph.vpush(each)
    for _ in frames[2:]:
        graph.vpull()
    return graph.vpull()


def _shape(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


def with_neighbours(elements: Iterable[Element]) -> Iterator[tuple[Element | None, Element, Element | None]]:
    """Each element with the one before it and the one after it."""
    before = current = None
    for after in elements:
        if current is not None:
            yield before, current, after
        before, current = current, after
    if current is not None:
        yield before, current, None

"""The parts of the page that are asked for when someone looks at them, by name: frames/3, videos/0, reasons/blurred, and so on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from flows.atlas.details import cluster_tree, compared, frames_of, nights, videos_of
from flows.atlas.members import MOST_DATASETS, dataset_names
from flows.atlas.points import Atlas
from flows.atlas.reasons import dropped_for, reasons
from warehouse.lake import Lake

__all__ = ["all_parts", "part_of"]

_FRAMES_A_QUERY, _VIDEOS_A_QUERY = 1000, 100


def part_of(lake: Lake, atlas: Atlas, name: str) -> Any:
    """A part as plain values; None if there is none of that name."""
    kind, _, which = name.partition("/")
    if name == "clusters":
        return cluster_tree(lake, atlas)
    if name == "nights":
        return nights(lake)
    if name == "datasets":
        return dataset_names(lake)
    if kind in ("frames", "videos") and re.fullmatch(r"\d{1,9}", which):
        number, of_kind = int(which), atlas.frame_ids if kind == "frames" else atlas.videos
        if number >= len(of_kind):
            return None
        return (frames_of if kind == "frames" else videos_of)(lake, atlas, [number])[0]
    if kind == "reasons" and which:
        return dropped_for(lake, atlas, which)
    if kind == "datasets" and re.fullmatch(r"\d{1,6}-\d{1,6}", which):
        names, pair = dataset_names(lake), [int(number) for number in which.split("-")]
        return compared(lake, atlas, [names[number] for number in pair]) if max(pair) < len(names) and len(set(pair)) == 2 else None
    return None


def all_parts(lake: Lake, atlas: Atlas) -> Iterator[tuple[str, Any]]:
    """Every part with its name, of the latest datasets only."""
    for name in ("clusters", "nights", "datasets"):
        yield name, part_of(lake, atlas, name)
    for numbers in _batches(len(atlas.frame_ids), _FRAMES_A_QUERY):
        yield from ((f"frames/{number}", told) for number, told in zip(numbers, frames_of(lake, atlas, numbers), strict=True))
    for numbers in _batches(len(atlas.videos), _VIDEOS_A_QUERY):
        yield from ((f"videos/{number}", told) for number, told in zip(numbers, videos_of(lake, atlas, numbers), strict=True))
    yield from ((f"reasons/{reason}", dropped_for(lake, atlas, reason)) for reason in reasons(atlas))
    names = dataset_names(lake)[:MOST_DATASETS]
    for first, second in itertools.permutations(range(len(names)), 2):
        yield f"datasets/{first}-{second}", compared(lake, atlas, [names[first], names[second]])


def _batches(count: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, count)) for start in range(0, count, size))

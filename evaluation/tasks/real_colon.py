"""REAL-Colon: whether a frame of a full colonoscopy shows a lesion, by video.

`SSS-VVV_frames/SSS-VVV_T.jpg` and `SSS-VVV_annotation/SSS-VVV_T.xml`: four sites, 15 videos each, 2,757,723 frames. Every 30th frame is
read, about one a second. The published code trains on videos 1 to 10 of each site, validates on 11 and 12, and tests on 13 to 15.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["REAL_COLON"]

STRIDE = 30
"""Every how many frames one is read."""

LABELS = ("no lesion", "lesion")


def _read(data: Path) -> Reading:
    folders = sorted(path for path in data.rglob("???-???_frames") if path.is_dir())
    if not folders:
        raise TaskError(f"task real_colon: no folder such as 001-001_frames under {data}; give the folder of the download")
    items = [item for folder in folders for item in _frames(folder)]
    return items, (f"every {STRIDE}th frame of each video",)


def _frames(folder: Path) -> list[Item]:
    video = folder.name.removesuffix("_frames")
    annotations = next((at for at in (folder.with_name(f"{video}_annotation{s}") for s in ("", "s")) if at.is_dir()), None)
    if annotations is None:
        raise TaskError(f"task real_colon: there is no folder {video}_annotation beside {folder}; unpack it there")
    names = [match for match in (re.fullmatch(rf"{video}_(\d+)\.jpg", name) for name in os.listdir(folder)) if match]
    chosen = sorted(int(match[1]) for match in names if int(match[1]) % STRIDE == 0)
    return [
        Item(path=str(folder / f"{video}_{t}.jpg"), label=_label(annotations / f"{video}_{t}.xml"), split="", group=video) for t in chosen
    ]


def _label(annotation: Path) -> str:
    """A frame shows a lesion if its file has an object."""
    try:
        return LABELS["<object>" in annotation.read_text(encoding="utf-8")]
    except FileNotFoundError as error:
        raise TaskError(f"task real_colon: {annotation} does not exist; unpack the annotations beside the frames") from error


def _published(_: Path, items: list[Item], __: int) -> Reading:
    return [replace(item, split=_split(int(item.group.partition("-")[2]))) for item in items], ()


def _split(video: int) -> str:
    return "train" if video <= 10 else "val" if video <= 12 else "test"


def _videos_of_sites(items: Sequence[Item]) -> Mapping[str, int]:
    return Counter(f"videos of site {video[:3]}" for video in {item.group for item in items})


REAL_COLON = Task(
    name="real_colon",
    data="REAL-Colon: frames with and without a lesion",
    read=_read,
    kind="classification",
    splits=(SplitProtocol(name="videos", source="videos 1-10, 11-12 and 13-15 of each site, as in REAL-Colon's code", divide=_published),),
    expected=Expected(counts={f"videos of site 00{site}": 15 for site in (1, 2, 3, 4)}, tally=_videos_of_sites),
)

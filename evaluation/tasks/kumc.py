"""KUMC's PolypsSet: boxes of adenomatous and hyperplastic polyps in frames of videos.

The source is `PolypsSet/{train,val,test}2019/{Image,Annotation}/<video>/<name>.{jpg,xml}`. What Endo-FM's script prepares from it has the
folders of each split beside `ImageSets/{train,val,test}.txt`, whose lines are `<video> <frame_id> <k> <len>`. A split whose frames lie
flat, without folders of videos, and suffixes in capitals are read too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from evaluation.tasks.items import SPLITS, Item, TaskError
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task
from evaluation.tasks.voc import object_names
from evaluation.tasks.voc_tree import FrameFile, child, frames_in, items_of_frames, natural_key

__all__ = ["KUMC"]

NAMES = {"adenomatous": "adenomatous", "hyperplastic": "hyperplastic"}

FRAMES_PER_S = 30.0

_LOOKED_AT = 100
"""annotations that are read for the names of their objects"""

_ROOTS = ("PolypsSet", "processed", "KUMC")
_PREPARED = (
    "prepared frames: the script numbers them in the order of a directory listing, so neighbours may be no neighbours in time; "
    "give the source tree for that"
)


def _frame_rate(_: Path) -> tuple[float, str]:
    return FRAMES_PER_S, "assumed: the publication names no frame rate"


def _root(data: Path) -> Path:
    for root in (data, *(found for name in _ROOTS if (found := child(data, name)))):
        if any(_split_folder(root, split) for split in SPLITS):
            return root
    raise TaskError(
        f"task kumc: no folder such as train2019/Image under {data}; give PolypsSet, or the folder that Endo-FM's script prepared"
    )


def _split_folder(root: Path, split: str) -> Path | None:
    folder = child(root, f"{split}2019", split)
    return folder if folder is not None and child(folder, "Image", "Images") is not None else None


def _read(data: Path) -> Reading:
    root = _root(data)
    lists = child(root, "ImageSets")
    frames: list[FrameFile] = []
    notes: list[str] = []
    for split in SPLITS:
        folder = _split_folder(root, split)
        if folder is None:
            continue
        listed = None if lists is None else _listed(lists / f"{split}.txt")
        images, annotations = _parts(folder)
        if listed is not None:
            frames += [_named(images, annotations, split, *line) for line in listed]
            continue
        videos = sorted((path for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")), key=_by_number)
        for video in videos:
            frames += frames_in(video, annotations / video.name, video=f"{split} {video.name}", split=split)
        flat = frames_in(images, annotations, video="", split=split)
        if flat:
            notes.append(f"{split}: {len(flat):,} frames lie flat, so their videos are not known")
        frames += flat
    items, more = items_of_frames("kumc", frames, names=NAMES)
    return items, (*notes, *((_PREPARED,) if lists is not None else ()), *more, *_shared(items))


def _is_here(data: Path) -> bool:
    """A split with a folder of images and one of VOC files, not all with other objects: images beside masks are not taken for it."""
    roots = (data, *(found for name in _ROOTS if (found := child(data, name))))
    splits = [folder for root in roots for split in SPLITS if (folder := _split_folder(root, split)) is not None]
    told = [found for folder in splits if (found := child(folder, "Annotation", "Annotations")) is not None]
    files = list(islice((path for folder in told for path in folder.rglob("*") if path.suffix.lower() == ".xml"), _LOOKED_AT))
    named = frozenset().union(*(object_names(path) or () for path in files))
    return bool(files) and (not named or not named.isdisjoint(NAMES))


def _by_number(path: Path) -> tuple[tuple[int, int, str], ...]:
    return natural_key(path.name)


def _parts(folder: Path) -> tuple[Path, Path]:
    images = child(folder, "Image", "Images")
    annotations = child(folder, "Annotation", "Annotations")
    if images is None or annotations is None:
        raise TaskError(f"task kumc: {folder} has not both Image and Annotation; unpack it whole")
    return images, annotations


def _listed(path: Path) -> list[tuple[str, int]] | None:
    """Video and number of each line, in the order of numbers; None without the list."""
    if not path.is_file():
        return None
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split()
        if parts and (len(parts) != 4 or not parts[2].isdigit()):
            raise TaskError(f"{path}, line {number} is {line!r}; expected '<video> <frame_id> <k> <len>'")
        if parts:
            found.append((parts[0], int(parts[2])))
    return sorted(found, key=lambda pair: (natural_key(pair[0]), pair[1]))


def _named(images: Path, annotations: Path, split: str, video: str, number: int) -> FrameFile:
    if Path(video).name != video or video in ("", ".", ".."):
        raise TaskError(f"task kumc: a list names the video {video!r}; expected the name of a folder in {images}")
    candidates = [images / video / f"{number}{suffix}" for suffix in (".jpg", ".JPG", ".jpeg", ".png")]
    image = next((path for path in candidates if path.is_file()), candidates[0])
    told = [annotations / video / f"{number}{suffix}" for suffix in (".xml", ".XML")]
    annotation = next((path for path in told if path.is_file()), told[0])
    return FrameFile(image=image, annotation=annotation, video=f"{split} {video}", split=split)


def _shared(items: Sequence[Item]) -> tuple[str, ...]:
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.group != item.path:
            splits[item.group.partition(" ")[2]].add(item.split)
    number = sum(len(found) > 1 for found in splits.values())
    if not number:
        return ()
    stand = "1 name of a folder stands" if number == 1 else f"{number:,} names of folders stand"
    return (f"videos: {stand} in several splits; each is taken for another video",)


def _of_three(_: Path, items: list[Item], __: int) -> Reading:
    missing = [split for split in SPLITS if not any(item.split == split for item in items)]
    if missing:
        raise TaskError(f"task kumc: there is no {missing[0]}2019; unpack it, or give --protocol made")
    return items, ()


def _released(_: Path, items: list[Item], __: int) -> Reading:
    """The validation frames choose the model and are reported; they stand in both splits, as in the code."""
    val = [item for item in items if item.split == "val"]
    if not val:
        raise TaskError("task kumc: there is no val2019, which the released code reports; unpack it")
    kept = [item for item in items if item.split != "test"]
    return kept + [replace(item, split="test") for item in val], (
        "released protocol: val2019 chooses the checkpoint and is reported. The released code's other defects are not repeated here: "
        "frames in listing order, a queue that runs on into the next video, three frames in training and one in test, BGR of 0 to 255, "
        "class ids summed as a count, presence without place at a fixed 0.5 (presence_f1_at_half is that number)",
    )


KUMC = Task(
    name="kumc",
    data="KUMC's PolypsSet: boxes of adenomatous and hyperplastic polyps",
    read=_read,
    detect=_is_here,
    kind="detection",
    splits=(
        SplitProtocol(
            name="three_splits",
            source="train2019 to train, val2019 to choose, test2019 to report",
            divide=_of_three,
            is_published=False,
            is_there=lambda data: all(_split_folder(_root(data), split) for split in SPLITS),
            needs="train2019, val2019 and test2019",
        ),
        SplitProtocol(
            name="endofm",
            source="Endo-FM's code, which its followers share: val2019 is chosen by and reported",
            divide=_released,
            leak="the frames that are reported have chosen the model",
        ),
    ),
    frame_rate=_frame_rate,
)

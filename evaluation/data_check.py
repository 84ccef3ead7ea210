"""What a labelled set holds, as tables and pictures for a person: counts, sizes, overlays, duplicates and leaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from statistics import median
from typing import TypeVar

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from evaluation.images import mask_pixels
from evaluation.tasks import SPLITS, Expected, FileFacts, Item, TaskData, eight_bit, open_file, oriented_size, upright

__all__ = [
    "NUM_SHOWN",
    "Rows",
    "Shown",
    "box_overlays",
    "box_rows",
    "box_size_rows",
    "class_rows",
    "duplicate_rows",
    "evenly",
    "group_rows",
    "jpeg_of",
    "kind_rows",
    "overlays",
    "published_rows",
    "samples",
    "shared_group_rows",
    "size_rows",
]

NUM_SHOWN = 12
_MOST_ROWS = 12
_OVERLAY_PX = 288
_SAMPLE_PX = 144
_OUTLINE = (40, 255, 120)

Rows = tuple[tuple[str, ...], ...]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture and what stands below it."""

    jpeg: bytes
    caption: str


def class_rows(task: TaskData) -> Rows:
    """Images of each class by split, and in all."""
    names = ("images",) if task.kind in ("segmentation", "detection") else task.classes
    counts = Counter((_class(item), item.split) for item in task.items)
    found = {name: [counts[name, split] for split in SPLITS] for name in names}
    if len(names) > 1:
        found["all"] = [sum(found[name][place] for name in names) for place in range(len(SPLITS))]
    return tuple((name, *map(_count, row), _count(sum(row))) for name, row in found.items())


def box_rows(task: TaskData) -> Rows:
    """Boxes of each class by split, and in all."""
    counts = Counter((box.label, item.split) for item in task.items for box in item.boxes or ())
    rows = {name: [counts[name, split] for split in SPLITS] for name in task.classes}
    return tuple((name, *map(_count, row), _count(sum(row))) for name, row in rows.items())


def box_size_rows(task: TaskData, facts: Mapping[str, FileFacts]) -> Rows:
    """Of each class the smallest, the median and the largest box as shares of their frames, and how many lesions they show."""
    shares: dict[str, list[float]] = defaultdict(list)
    lesions: dict[str, set[str]] = defaultdict(set)
    for item in task.items:
        width, height = facts[item.path].size
        for box in item.boxes or ():
            x1, y1, x2, y2 = box.corners
            shares[box.label].append((x2 - x1) * (y2 - y1) / (width * height))
            lesions[box.label].add(box.lesion)
    return tuple(
        (name, *(f"{value:.2%}" for value in (min(shares[name]), median(shares[name]), max(shares[name]))), _count(len(lesions[name])))
        for name in task.classes
        if shares[name]
    )


def published_rows(task: TaskData, expected: Expected) -> Rows:
    """Each published count, what was found, and the difference; as the publication counts, by class, split, centre or video."""
    found = expected.tally(task.items)
    pairs = [(name, count, found.get(name, 0)) for name, count in expected.counts.items()]
    return tuple((name, _count(count), _count(have), f"{have - count:+,}" if have != count else "0") for name, count, have in pairs)


def group_rows(task: TaskData) -> Rows:
    """Patients or other groups of each split: how many, and the fewest, the median and the most images of one."""
    rows = []
    for split in SPLITS:
        sizes = sorted(Counter(item.group for item in task.split(split)).values())
        if sizes:
            rows.append((split, _count(len(sizes)), _count(sizes[0]), f"{median(sizes):g}", _count(sizes[-1])))
    return tuple(rows)


def size_rows(task: TaskData, facts: Mapping[str, FileFacts]) -> Rows:
    """Image sizes, the commonest first."""
    counts = Counter(facts[path].size for path in _images(task)).most_common()
    rows = [(f"{width} x {height}", _count(count)) for (width, height), count in counts[:_MOST_ROWS]]
    rest = counts[_MOST_ROWS:]
    return (*rows, *([(f"{len(rest)} other sizes", _count(sum(count for _, count in rest)))] if rest else []))


def kind_rows(task: TaskData, facts: Mapping[str, FileFacts]) -> Rows:
    """Formats and pixel modes of images and masks, the commonest first."""
    masks = sorted({item.mask for item in task.items if item.mask is not None})
    rows = []
    for what, paths in (("images", _images(task)), ("masks", masks)):
        rows += [(f"{what}: {kind}", _count(count)) for kind, count in Counter(facts[path].kind for path in paths).most_common()]
    turned = sum(facts[path].is_turned for path in _images(task))
    return (*rows, *([("images with an EXIF orientation", _count(turned))] if turned else []))


def duplicate_rows(task: TaskData, facts: Mapping[str, FileFacts]) -> Rows:
    """Files of equal bytes: where they are, and their splits; those over several splits first."""
    by_hash: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in task.items:
        by_hash[facts[item.path].sha256][item.path].add(item.split)
    equal = [files for files in by_hash.values() if len(files) > 1]
    rows = [(", ".join(files), _splits(set().union(*files.values()))) for files in equal]
    return tuple(sorted(rows, key=lambda row: (-row[1].count(","), row)))


def shared_group_rows(task: TaskData) -> Rows:
    """Groups that stand in several splits, with their images in each."""
    counts = Counter((item.group, item.split) for item in task.items)
    groups = sorted({item.group for item in task.items})
    found = [(group, [counts[group, split] for split in SPLITS]) for group in groups]
    return tuple((group, *map(_count, numbers)) for group, numbers in found if sum(number > 0 for number in numbers) > 1)


def overlays(task: TaskData, *, num_workers: int) -> tuple[Shown, ...]:
    """Images with the outline of their masks, from the smallest foreground to the largest."""
    with ThreadPoolExecutor(num_workers) as pool:
        shares = list(pool.map(lambda item: float(mask_pixels(item).mean()), task.items))
        order = sorted(range(len(shares)), key=lambda place: (shares[place], place))
        chosen = evenly(order, NUM_SHOWN)
        pictures = pool.map(lambda place: _overlay(task.items[place]), chosen)
        return tuple(
            Shown(jpeg, f"{shares[place]:.1%}, {task.items[place].split}, {_name(task.items[place])}")
            for place, jpeg in zip(chosen, pictures, strict=True)
        )


def box_overlays(task: TaskData) -> tuple[Shown, ...]:
    """Frames with their boxes, some of those that show something evenly over the set."""
    shown = evenly([item for item in task.items if item.boxes], NUM_SHOWN)
    return tuple(Shown(_boxed(item), f"{', '.join(box.label for box in item.boxes or ())}, {item.split}, {_name(item)}") for item in shown)


def samples(task: TaskData, name: str) -> tuple[Shown, ...]:
    """Some images of a class."""
    items = evenly([item for item in task.items if item.label == name], NUM_SHOWN)
    return tuple(Shown(jpeg_of(_picture(item, _SAMPLE_PX)), f"{item.split}, {_name(item)}") for item in items)


def _overlay(item: Item) -> bytes:
    picture = _picture(item, _OVERLAY_PX)
    mask = Image.fromarray(mask_pixels(item)).convert("L").resize(picture.size, Image.Resampling.NEAREST)
    edge = ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(5)), mask)
    picture.paste(Image.new("RGB", picture.size, _OUTLINE), mask=edge)
    return jpeg_of(picture)


def _boxed(item: Item) -> bytes:
    with open_file(item.path) as file:
        width, height = oriented_size(file)
    picture = _picture(item, _OVERLAY_PX)
    across, down = picture.width / width, picture.height / height
    drawing = ImageDraw.Draw(picture)
    for box in item.boxes or ():
        x1, y1, x2, y2 = box.corners
        drawing.rectangle((x1 * across, y1 * down, x2 * across, y2 * down), outline=_OUTLINE, width=2)
    return jpeg_of(picture)


def _picture(item: Item, side: int) -> Image.Image:
    with open_file(item.path) as file:
        image = eight_bit(upright(file), item.path)
        if item.box is not None:
            x, y, width, height = item.box
            image = image.crop((x, y, x + width, y + height))
        small = image.convert("RGB")
        small.thumbnail((side, side))
        return small


def jpeg_of(image: Image.Image) -> bytes:
    """A picture as a file."""
    file = BytesIO()
    image.save(file, "JPEG", quality=82)
    return file.getvalue()


def evenly(things: Sequence[T], number: int) -> list[T]:
    """Some of a sequence with the first and the last, evenly spaced."""
    if len(things) <= number:
        return list(things)
    return [things[round(place * (len(things) - 1) / (number - 1))] for place in range(number)]


def _class(item: Item) -> str:
    return item.label if item.label is not None else "images"


def _images(task: TaskData) -> list[str]:
    return sorted({item.path for item in task.items})


def _name(item: Item) -> str:
    return item.path.rpartition("/")[2]


def _splits(found: set[str]) -> str:
    return ", ".join(split for split in SPLITS if split in found)


def _count(number: int) -> str:
    return f"{number:,}"

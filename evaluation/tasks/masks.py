"""Learn from all mask files of a set how they say foreground, and read them so."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluation.tasks.items import Item, MaskEncoding, Plane, TaskError
from evaluation.tasks.mask_files import FEW_VALUES, LOSSY, MaskFile, levels, look_at_mask
from evaluation.tasks.pixels import open_file, orientation, upright

__all__ = ["aspect_fault", "learn_masks", "mask_pixels"]

_NOISE = 32 / 255  # of the range: what JPEG makes of a plain background
_LEAST_RANGE = 64  # of a JPEG's values; less is noise
_FAINT = 0.6  # a file whose brightest value is under this share of the set's has another encoding
_REGIONS = 0.25  # of the pixels between the ends; more of them inside regions are a class of their own
_OTHER_COLOUR = 0.03  # of the foreground
_MOST_FOREGROUND = 0.5
_ASPECT = 0.02  # relative; rounding of a resized side
_THREADS = 8

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def mask_pixels(item: Item) -> npt.NDArray[np.bool_]:
    """The item's mask at its native size, [H, W], true on the foreground.

    Raises:
        TaskError: there is no mask, it does not decode, or the encoding that it is read with would lose its foreground.
    """
    if item.mask is None:
        raise TaskError(f"{item.path!r} has no mask; segmentation needs one for every image")
    encoding = item.mask_encoding or MaskEncoding()
    with open_file(item.mask, "mask") as file:
        image = upright(file)
        if encoding.orientation != 1:
            image = image.transpose(_TURNS[encoding.orientation])
        found = levels(image, encoding.plane)
        mask = np.asarray(found > encoding.threshold)
        noise = _NOISE * 255 if file.format in LOSSY else 0
    if item.mask_encoding is None and not mask.any() and float(found.max(initial=0)) > noise:
        raise TaskError(
            f"mask {item.mask!r} has values up to {float(found.max()):g}, not 255; read the set with read_task, which learns its encoding"
        )
    return mask


def learn_masks(items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Items with the encoding of their masks, and notes on what was found; masks that do not decode are left to a later check.

    All files are decoded, in threads: about 2 CPU milliseconds for a mask of 352x352 pixels.

    Args:
        items: of one set.

    Raises:
        TaskError: all masks are empty, full or unreadable, or the set has several encodings or more than two values.
    """
    pairs = tuple((item.path, str(item.mask), _stamp(str(item.mask))) for item in items)
    encoding, turns, notes = _learned(pairs)
    turned = dict(turns)
    found = [
        replace(item, mask_encoding=replace(encoding, orientation=turned[item.path]) if item.path in turned else encoding) for item in items
    ]
    return found, notes


def aspect_fault(image: tuple[int, int], mask: tuple[int, int]) -> str | None:
    """What is wrong with a mask that is no enlarged or reduced copy of its image's frame; sizes are width and height."""
    if abs(image[0] * mask[1] / (image[1] * mask[0]) - 1) <= _ASPECT:
        return None
    return f"its mask is {mask[0]}x{mask[1]} pixels and the image {image[0]}x{image[1]}, another aspect"


def _stamp(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return (0, 0)
    return facts.st_size, facts.st_mtime_ns


_Learned = tuple[MaskEncoding, tuple[tuple[str, int], ...], tuple[str, ...]]


@lru_cache(maxsize=4)  # a command reads its set twice, once to check it before any work
def _learned(pairs: tuple[tuple[str, str, tuple[int, int]], ...]) -> _Learned:
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        looked = list(pool.map(lambda pair: _look(pair[0], pair[1]), pairs))
    files = {pair[1]: file for pair, (file, _, _) in zip(pairs, looked, strict=True) if file is not None}
    if not files:
        raise TaskError(f"none of {len(pairs):,} masks decodes (such as {pairs[0][1]!r}); replace them")
    encoding, found = _encoding(files)
    notes = [found]
    turns, num_resized = [], 0
    for (path, _, _), (file, size, turn) in zip(pairs, looked, strict=True):
        if file is None or size is None:
            continue
        raw = size[::-1] if turn >= 5 else size
        if turn >= 5 and file.size == raw != size and not file.is_turned:
            turns.append((path, turn))
        elif file.size != size and aspect_fault(size, file.size) is None:
            num_resized += 1
    num_turned = sum(turn != 1 for _, _, turn in looked)
    if num_turned:
        drawn = f"; {len(turns):,} masks were drawn on the unturned picture and are turned too" if turns else ""
        notes.append(f"EXIF orientation: {num_turned:,} images are turned upright{drawn}")
    if num_resized:
        notes.append(f"masks: {num_resized:,} are of another size than their image and equal in aspect; they are scored at their own size")
    return encoding, tuple(turns), (*notes, *_inverted(encoding, files.values()))


def _look(path: str, mask: str) -> tuple[MaskFile | None, tuple[int, int] | None, int]:
    """The mask, and the upright size and orientation of its image; None for what does not decode."""
    try:
        with open_file(path) as image:
            turn = orientation(image)
            size = (image.height, image.width) if turn >= 5 else (image.width, image.height)
    except TaskError:
        size, turn = None, 1
    try:
        return look_at_mask(mask), size, turn
    except TaskError:
        return None, size, turn


def _encoding(files: Mapping[str, MaskFile]) -> tuple[MaskEncoding, str]:
    """How these files say foreground, and a note on it."""
    plane = _plane(files)
    by_file = {path: _values(file, plane) for path, file in files.items()}
    counts = _sum(by_file.values())
    low, high = min(counts), max(counts)
    is_lossy = any(file.is_lossy for file in files.values())
    number = f"all {len(files):,} masks" if len(files) > 1 else "the only mask"
    if low == high or (is_lossy and high - low < _LEAST_RANGE):
        said = "empty" if low < (_LEAST_RANGE if is_lossy else 1) else f"full: each pixel is {_text(high)}"
        raise TaskError(f"{number} are {said}; give masks with a background of 0 and a foreground")
    noise = _NOISE * high if is_lossy else 0.0
    _refuse_several(files, by_file, counts, noise=noise, is_lossy=is_lossy)
    if low > noise:
        raise TaskError(
            f"masks have values from {_text(low)} to {_text(high)} and no 0, so which is background is not known; write it as 0"
        )
    if plane.startswith("colour"):
        _refuse_colours(files, plane)
    encoding = MaskEncoding(plane=plane, threshold=(low + high) / 2)
    formats = Counter(file.format for file in files.values())
    said = (
        f"values {_text(low)} and {_text(high)}"
        if len(counts) == 2
        else f"values {_text(low)} to {_text(high)} cut above {_text(encoding.threshold)}"
    )
    where = {"grey": "", "colour": "colour on black, ", "colour on white": "colour on white, ", "alpha": "alpha channel, "}[plane]
    return encoding, f"masks: {where}{said}, of {' and '.join(f'{count:,} {name}' for name, count in sorted(formats.items()))} files"


def _plane(files: Mapping[str, MaskFile]) -> Plane:
    alpha = _sum(file.values["alpha"] for file in files.values() if "alpha" in file.values)
    is_colour = any("colour" in file.values for file in files.values())
    colour = _sum(_values(file, "colour") for file in files.values())
    if len(alpha) > 1 and len(colour) == 1:
        without = next((path for path, file in files.items() if "alpha" not in file.values), None)
        if without is not None:
            raise TaskError(f"some masks are in an alpha channel and {without!r} has none; write all of them in one encoding")
        return "alpha"
    if not is_colour:
        return "grey"
    if min(colour) < _LEAST_RANGE:
        return "colour"
    if min(_sum(_values(file, "colour on white") for file in files.values())) < _LEAST_RANGE:
        return "colour on white"
    raise TaskError("masks are coloured and have neither a black nor a white background; write the background as black")


def _values(file: MaskFile, plane: Plane) -> Mapping[float, int]:
    """Counts of a plane; a grey file has its values as colours too."""
    if plane in file.values:
        return file.values[plane]
    if plane == "colour on white":
        return {255 - value: count for value, count in file.values["grey"].items()}
    return next(iter(file.values.values()))


def _refuse_several(
    files: Mapping[str, MaskFile], by_file: Mapping[str, Mapping[float, int]], counts: Mapping[float, int], *, noise: float, is_lossy: bool
) -> None:
    """Raise for files of unlike encodings, and for more than two values."""
    high = max(counts)
    faint = [path for path, found in by_file.items() if noise < max(found) < _FAINT * high]
    bright = next(path for path, found in by_file.items() if max(found) == high)
    remedy = "write all masks as 0 and 255"
    all_two = not is_lossy and all(len(found) <= 2 for found in by_file.values())
    if faint or (all_two and len(counts) > 2):
        others = faint or [path for path, found in by_file.items() if not set(found) <= {min(counts), high}]
        raise TaskError(
            f"masks have several encodings or classes: {bright!r} has {_listed(by_file[bright])}, "
            f"and {len(others):,} of {len(files):,} such as {others[0]!r} have {_listed(by_file[others[0]])}; {remedy}"
        )
    middle, inside = sum(file.num_middle for file in files.values()), sum(file.num_inside for file in files.values())
    if inside > _REGIONS * middle:
        several = max(files, key=lambda path: files[path].num_inside)
        raise TaskError(
            f"masks have more than two values: {several!r} has {_listed(by_file[several])}; "
            f"for one class among several write it alone, as 0 and 255"
        )


def _refuse_colours(files: Mapping[str, MaskFile], plane: Plane) -> None:
    """Raise for foreground of more than one colour."""
    pure: Counter[tuple[int, ...]] = Counter()
    for file in files.values():
        for packed, count in file.colours.items():
            colour = np.array([packed >> 6, packed >> 3 & 7, packed & 7]) / 7
            strength = colour if plane == "colour" else 1 - colour
            if strength.max() > 0.5:
                pure[tuple(np.round(3 * strength / strength.max()).astype(int))] += count
        if not file.colours:  # a grey file among coloured ones
            pure[3, 3, 3] += sum(count for value, count in _values(file, plane).items() if value > 127)
    (main, _), total = pure.most_common(1)[0], sum(pure.values())
    others = sum(count for colour, count in pure.items() if max(abs(a - b) for a, b in zip(colour, main, strict=True)) > 1)
    if others > _OTHER_COLOUR * total:
        raise TaskError(
            f"masks have several colours ({others / total:.0%} of the foreground is not the commonest), so several classes; "
            "for one class among several write it alone, as 0 and 255"
        )


def _inverted(encoding: MaskEncoding, files: Iterable[MaskFile]) -> tuple[str, ...]:
    looked = list(files)
    share, border = (
        _share(_sum(_values(file, encoding.plane) for file in looked), encoding.threshold),
        _share(_sum(_border(file, encoding.plane) for file in looked), encoding.threshold),
    )
    if min(share, border) <= _MOST_FOREGROUND:
        return ()
    return (f"warning: masks may be inverted: {share:.0%} of all pixels and {border:.0%} of the pictures' borders are foreground",)


def _border(file: MaskFile, plane: Plane) -> Mapping[float, int]:
    return _values(replace(file, values=file.border), plane)


def _share(counts: Mapping[float, int], threshold: float) -> float:
    return sum(count for value, count in counts.items() if value > threshold) / sum(counts.values())


def _sum(parts: Iterable[Mapping[float, int]]) -> Counter[float]:
    total: Counter[float] = Counter()
    for part in parts:
        total.update(part)
    return total


def _listed(found: Mapping[float, int]) -> str:
    values = sorted(found)
    if len(values) <= FEW_VALUES // 2:
        return ", ".join(map(_text, values))
    return f"{len(values)} values from {_text(values[0])} to {_text(values[-1])}"


def _text(value: float) -> str:
    return f"{value:g}" if value != int(value) else str(int(value))

"""Class names of a set: one spelling each, in class-index order, and the rows that repeat."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from evaluation.config import TaskKind
from evaluation.tasks.items import Item, TaskError

__all__ = ["classes_of", "grade_notes", "kind_of", "one_spelling", "ordered", "unrepeated"]

_SHOWN = 3
_LONGEST_GAP = 50


def one_spelling(items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Items whose labels differ in more than Unicode form, case or outer spaces, and a note on what was written otherwise.

    A class has its commonest spelling. Whole numbers that were written as floats (1.0) are whole (1).
    """
    counts = Counter(item.label for item in items if item.label is not None)
    spellings: dict[str, Counter[str]] = {}
    are_floats = all(re.fullmatch(r"\s*[-+]?\d+(\.0+)?\s*", label) for label in counts)
    for label, count in counts.items():
        tidy = str(int(float(label))) if are_floats else unicodedata.normalize("NFC", label).strip()
        spellings.setdefault(tidy.casefold(), Counter())[tidy] += count
    chosen = {key: min(found, key=lambda name: (-found[name], name)) for key, found in spellings.items()}
    names = {
        label: chosen[(str(int(float(label))) if are_floats else unicodedata.normalize("NFC", label).strip()).casefold()]
        for label in counts
    }
    changed = sorted((label, name) for label, name in names.items() if label != name)
    if not changed:
        return list(items), ()
    told = ", ".join(f"{label!r} as {name!r}" for label, name in changed[:_SHOWN])
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    found = [item if item.label is None else replace(item, label=names[item.label]) for item in items]
    return found, (f"spelling: labels are read {told}{more}",)


def unrepeated(items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Items without rows that say the same again, and a note on their number.

    Raises:
        TaskError: one image, or one crop of it, has two labels or two masks.
    """
    said: dict[tuple[object, ...], Item] = {}
    for item in items:
        first = said.setdefault((item.path, item.box, item.span), item)
        if (first.label, first.mask) != (item.label, item.mask):
            what = "labels" if first.label != item.label else "masks"
            both = sorted(map(str, {first.label, item.label} if what == "labels" else {first.mask, item.mask}))
            crop = f" in the crop {item.box}" if item.box else f" from {item.span[0]:g} s on" if item.span else ""
            raise TaskError(f"{item.path!r} has the {what} {' and '.join(map(repr, both))}{crop}; keep one")
    kept = list(dict.fromkeys(items))
    if len(kept) == len(items):
        return kept, ()
    return kept, (f"repeated: {len(items) - len(kept):,} rows say the same as another and are counted once",)


def classes_of(items: Sequence[Item]) -> tuple[str, ...]:
    """Class names in class-index order: by their number if all end in one, else by name."""
    in_boxes = {box.label for item in items for box in item.boxes or ()}
    names = sorted({item.label for item in items if item.label is not None} | in_boxes)
    numbers = {name: _trailing_number(name) for name in names}
    if all(numbers.values()):
        names.sort(key=lambda name: numbers[name] or ("", 0.0))
    return tuple(names)


def kind_of(items: Sequence[Item]) -> TaskKind:
    """Detection if items have boxes, segmentation if they have masks, ordinal if three classes are one name with numbers, else classes."""
    if any(item.boxes is not None for item in items):
        return "detection"
    if any(item.mask is not None for item in items):
        return "segmentation"
    classes = classes_of(items)
    return "ordinal" if len(classes) >= 3 and _are_grades(classes) else "classification"


def ordered(name: str, classes: tuple[str, ...], order: Sequence[str], *, kind: TaskKind) -> tuple[str, ...]:
    """Classes in class-index order.

    Args:
        name: of the task.
        classes: in the order of their numbers or names.
        order: names from best to worst; empty if it was not given.
        kind: of the labels.

    Raises:
        TaskError: classes are ordinal and their order is neither given nor in their numbers, or it leaves classes out.
    """
    if not order:
        if kind == "ordinal" and not _are_grades(classes):
            raise TaskError(
                f"task {name}: the order of the classes {', '.join(classes)} is not known; "
                "give it from best to worst, as in `endoforge evaluate --order none,mild,severe`"
            )
        return classes
    by_key = {_key(known): known for known in classes}
    wanted = [_key(part) for part in order]
    if not set(by_key) <= set(wanted) or len(set(wanted)) != len(wanted):
        raise TaskError(
            f"task {name}: the order {', '.join(order)} does not name each of the classes {', '.join(classes)} once; "
            "give all from best to worst"
        )
    return tuple(by_key[key] for key in wanted if key in by_key)


def grade_notes(classes: tuple[str, ...], order: Sequence[str], *, was_asked: bool) -> tuple[str, ...]:
    """What has to be known of ordinal classes: that they were taken for grades, gaps between them, and grades below 0.

    Args:
        classes: in class-index order.
        order: as it was given, if it was.
        was_asked: the kind was given, not found from the numbers.
    """
    absent = [part for part in order if _key(part) not in {_key(known) for known in classes}]
    notes = [f"grades: {', '.join(absent)} does not occur in the data"] if absent else []
    numbers = [number for known in classes if (number := _trailing_number(known)) is not None]
    if order or len(numbers) < len(classes):
        return tuple(notes)
    if not was_asked and not numbers[0][0]:
        notes.append(
            f"grades: the classes {', '.join(classes)} are numbers, so they are read as ordered; "
            "`endoforge evaluate --kind classification` reads them as names"
        )
    values = [number for _, number in numbers]
    if values[0] < 0:
        notes.append(f"grades: {classes[0]} is read as the grade below {classes[1]}; remove its rows if it means not labelled")
    if all(value.is_integer() for value in values) and len(values) <= values[-1] - values[0] < _LONGEST_GAP:
        gaps = [str(value) for value in range(int(values[0]), int(values[-1])) if value not in values]
        notes.append(f"grades: {', '.join(gaps)} does not occur, and the step over it counts as one")
    return tuple(notes)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _are_grades(classes: Sequence[str]) -> bool:
    numbers = [_trailing_number(name) for name in classes]
    return all(numbers) and len({number[0] for number in numbers if number}) == 1


def _trailing_number(name: str) -> tuple[str, float] | None:
    """What stands before a name's last number, and that number; only a name that is all number has a sign."""
    match = re.fullmatch(r"([-+]?)(\d{1,9}(?:\.\d{1,9})?)", name) or re.fullmatch(r"(.*?)(\d{1,9}(?:\.\d{1,9})?)", name, flags=re.DOTALL)
    if match is None:
        return None
    if match[1] in ("-", "+"):
        return "", float(match[1] + match[2])
    return match[1], float(match[2])

"""Check a labelled set before any score: one page about what it holds, and what is wrong with it. Needs no lake, but may take its key."""

from __future__ import annotations

from pathlib import Path

from evaluation.config import EvaluateConfig
from evaluation.data_check import (
    Shown,
    box_overlays,
    box_rows,
    box_size_rows,
    class_rows,
    duplicate_rows,
    group_rows,
    kind_rows,
    overlays,
    published_rows,
    samples,
    size_rows,
)
from evaluation.report import ContactSheet, DataPage, Note, PageTable, Picture, render_data_page
from evaluation.tasks import (
    KNOWN_TASKS,
    NO_PATIENTS,
    FileFacts,
    TaskData,
    TaskError,
    boxes_inside,
    configured_task,
    fingerprint,
    look_at_files,
    without_unreadable,
)
from flows.runners import say
from flows.stages.check_notes import MOST_CLASSES, as_note, digest_notes, first_rows, nameless, shared_groups

__all__ = ["run_check_data"]

_DRAWN = ("segmentation", "detection")
"""Kinds of labels that are drawn into the pictures."""

_MASKS_HINT = (
    "From the smallest to the largest foreground, evenly spaced. The line is the edge of the foreground as it is read; "
    "its share of the picture is below."
)
_BOXES_HINT = "Some of the frames that show something, evenly over the set, with the boxes as they are read."

_WARNINGS = ("warning", "unreadable", "left out", "degenerate", "boxes", "patients unknown", "repeated", NO_PATIENTS)
"""How notes of a set begin that a reader must not miss."""


def run_check_data(data: Path, *, task: str, output: Path | None, config: EvaluateConfig, lake: Path | None = None) -> bool:
    """Write the page of a set and say what it found; true if the set can be scored.

    Args:
        data: the task's folder.
        task: a known task, or auto.
        output: folder for index.html; `check-data-TASK` where the command runs unless given.
        config: kind and order of the labels, how missing splits are made, and how many images may be unreadable.
        lake: whose key makes the digests of patients; without one they have no key, and the page says so.

    Raises:
        TaskError: no such task, or its data is not readable as one; the sentence says why.
    """
    fold = 0 if config.fold == "all" else config.fold
    read = configured_task(task, data, config, fold=fold)
    page, problems, notes = (_of_clips if read.has_clips else _of_images)(read, Path(data), config, lake)
    path = (output or Path(f"check-data-{read.name}")).absolute() / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    render_data_page(page, path)
    for note in (*problems, *notes):
        say(f"check-data: {note.level}: {note.text}")
    say(f"check-data: {read.name}, {page.subtitle}; the page is {path}; keep it as you keep the data")
    return not problems


def _of_clips(read: TaskData, data: Path, config: EvaluateConfig, lake: Path | None) -> tuple[DataPage, tuple[Note, ...], tuple[Note, ...]]:
    from flows.stages.check_clips import check_clips  # builds on torch, which a set of images does not need

    return check_clips(read, data, config, lake)


def _of_images(
    read: TaskData, data: Path, config: EvaluateConfig, lake: Path | None
) -> tuple[DataPage, tuple[Note, ...], tuple[Note, ...]]:
    """The page of a set of images, what keeps it from being scored, and what has to be known of it."""
    facts = look_at_files(read, num_workers=config.num_workers)
    found = boxes_inside(without_unreadable(read, facts, max_unreadable=1.0), facts)
    problems, notes = _notes(read, found, facts, config, lake)
    notes = (*notes, *digest_notes(found, lake))
    return _page(read, found, facts, data, (*problems, *notes), config, lake), problems, notes


def _notes(
    read: TaskData, found: TaskData, facts: dict[str, FileFacts], config: EvaluateConfig, lake: Path | None
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """What keeps the set from being scored, and what has to be known of it."""
    problems, warnings = [], []
    try:
        without_unreadable(read, facts, max_unreadable=config.max_unreadable)
        warnings += [as_note(nameless(text, found, lake)) for text in found.validate()]
    except TaskError as error:
        problems.append(Note(level="problem", text=nameless(str(error), read, lake)))
    hashes = {path: one.sha256 for path, one in facts.items()}
    warnings += [as_note(text) for text in fingerprint(found, hashes=hashes).leaks]
    notes = [as_note(text, "warning" if text.startswith(_WARNINGS) else "info") for text in found.notes]
    if len(found.classes) > MOST_CLASSES and found.kind not in _DRAWN:
        notes.append(as_note(f"pictures of the first {MOST_CLASSES} of {len(found.classes)} classes are shown", "info"))
    return tuple(problems), (*warnings, *notes)


def _page(
    read: TaskData,
    found: TaskData,
    facts: dict[str, FileFacts],
    data: Path,
    notes: tuple[Note, ...],
    config: EvaluateConfig,
    lake: Path | None,
) -> DataPage:
    known = KNOWN_TASKS.get(found.name)
    expected = known.expected if known is not None else None
    images, duplicates = {item.path for item in found.items}, duplicate_rows(found, facts)
    shared = shared_groups(found, lake)
    num_alone = sum(item.group == item.path for item in found.items)
    groups = "unknown" if num_alone == len(found.items) or not found.are_patients else f"{len({item.group for item in found.items}):,}"
    tables = [
        PageTable(
            title="Counts",
            columns=("class" if found.kind not in _DRAWN else "", "train", "val", "test", "all"),
            rows=class_rows(found),
        ),
        PageTable(
            title="Patients, or other groups",
            hint="Images of one group have to stay in one split. Each image counts as a group of its own if the data names none.",
            columns=("split", "groups", "fewest images", "median", "most"),
            rows=group_rows(found),
        ),
        PageTable(title="Image sizes", columns=("width x height", "images"), rows=size_rows(found, facts)),
        PageTable(title="Files", columns=("format and pixels", "files"), rows=kind_rows(found, facts)),
    ]
    if found.kind == "detection":
        tables[1:1] = [
            PageTable(title="Boxes", columns=("class", "train", "val", "test", "all"), rows=box_rows(found)),
            PageTable(
                title="Size of boxes",
                hint="Share of the frame.",
                columns=("class", "smallest", "median", "largest", "lesions"),
                rows=box_size_rows(found, facts),
            ),
        ]
    if expected is not None:
        hint = f"What is here differs: {found.count_difference}." if found.count_difference else "Each published count is here."
        columns = ("counted", "published", "here", "difference")
        tables.insert(1, PageTable(title="Published counts", hint=hint, columns=columns, rows=published_rows(read, expected)))
    if found.unreadable:
        tables.append(first_rows("Left out", ("image and reason",), tuple((fault,) for fault in found.unreadable)))
    if shared:
        tables.append(first_rows("Groups in several splits", ("group", "train", "val", "test"), shared))
    if duplicates:
        tables.append(first_rows("Files of equal bytes", ("files", "splits"), duplicates))
    return DataPage(
        title=f"Data check: {found.name}",
        subtitle=f"{found.kind}, {len(found.items):,} items of {len(images):,} images",
        facts=(
            ("folder", str(Path(data).absolute())),
            ("classes", ", ".join(found.classes)),
            *((("reads", known.data),) if known else ()),
            ("head chosen by", found.protocol.primary.replace("_", " ")),
        ),
        tiles=(
            (f"{len(images):,}", "images"),
            (groups, "patients or groups"),
            (f"{len(found.unreadable):,}", "unreadable, left out"),
            (f"{len(duplicates):,}", "contents in several files"),
            (f"{len(shared):,}", "groups in several splits"),
        ),
        notes=notes,
        tables=tuple(tables),
        overlays=_overlays(found, config),
        overlays_hint=_BOXES_HINT if found.kind == "detection" else _MASKS_HINT,
        samples=() if found.kind in _DRAWN else _samples(found),
    )


def _overlays(found: TaskData, config: EvaluateConfig) -> ContactSheet | None:
    if found.kind == "segmentation":
        return _sheet("Masks", overlays(found, num_workers=config.num_workers), len(found.items))
    return _sheet("Boxes", box_overlays(found), len(found.items)) if found.kind == "detection" else None


def _samples(found: TaskData) -> tuple[ContactSheet, ...]:
    return tuple(
        _sheet(name, samples(found, name), sum(item.label == name for item in found.items)) for name in found.classes[:MOST_CLASSES]
    )


def _sheet(title: str, shown: tuple[Shown, ...], number: int) -> ContactSheet:
    return ContactSheet(title=title, num_frames=number, pictures=tuple(Picture(jpeg=one.jpeg, caption=one.caption) for one in shown))

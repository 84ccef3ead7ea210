"""Check a labelled set before any score: one page about what it holds, and what is wrong with it. Needs no lake."""

from __future__ import annotations

from pathlib import Path

from evaluation.config import EvaluateConfig
from evaluation.data_check import (
    Shown,
    box_overlays,
    class_rows,
    duplicate_rows,
    group_rows,
    kind_rows,
    overlays,
    published_rows,
    samples,
    shared_group_rows,
    size_rows,
)
from evaluation.report import ContactSheet, DataPage, Note, PageTable, Picture, render_data_page
from evaluation.tasks import (
    KNOWN_TASKS,
    NO_PATIENTS,
    FileFacts,
    TaskData,
    TaskError,
    configured_task,
    fingerprint,
    look_at_files,
    without_unreadable,
)
from flows.runners import say
from warehouse.store import content_id

__all__ = ["run_check_data"]

MOST_ROWS = 12
MOST_CLASSES = 24
_DRAWN = ("segmentation", "detection")
"""Kinds of labels that are drawn into the pictures."""

_WARNINGS = ("warning", "unreadable", "patients unknown", "repeated", NO_PATIENTS)
"""How notes of a set begin that a reader must not miss."""


def run_check_data(data: Path, *, task: str, output: Path | None, config: EvaluateConfig) -> bool:
    """Write the page of a set and say what it found; true if the set can be scored.

    Args:
        data: the task's folder.
        task: a known task, or auto.
        output: folder for index.html; `check-data-TASK` where the command runs unless given.
        config: kind and order of the labels, how missing splits are made, and how many images may be unreadable.

    Raises:
        TaskError: no such task, or its data is not readable as one; the sentence says why.
    """
    fold = 0 if config.fold == "all" else config.fold
    read = configured_task(task, data, config, fold=fold)
    if read.has_clips:
        raise TaskError(f"task {read.name} is of clips of videos, and this page is about images; `endoforge evaluate` checks clips itself")
    facts = look_at_files(read, num_workers=config.num_workers)
    found = without_unreadable(read, facts, max_unreadable=1.0)
    problems, notes = _notes(read, found, facts, config)
    path = (output or Path(f"check-data-{found.name}")).absolute() / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    render_data_page(_page(read, found, facts, data, (*problems, *notes), config), path)
    for note in (*problems, *notes):
        say(f"check-data: {note.level}: {note.text}")
    say(f"check-data: {found.name}, {found.kind}, {len(found.items):,} items; the page is {path}; keep it as you keep the data")
    return not problems


def _notes(
    read: TaskData, found: TaskData, facts: dict[str, FileFacts], config: EvaluateConfig
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """What keeps the set from being scored, and what has to be known of it."""
    problems, warnings = [], []
    try:
        without_unreadable(read, facts, max_unreadable=config.max_unreadable)
        warnings += [_note(_nameless(text, found)) for text in found.validate()]
    except TaskError as error:
        problems.append(Note(level="problem", text=_nameless(str(error), read)))
    hashes = {path: one.sha256 for path, one in facts.items()}
    warnings += [_note(text) for text in fingerprint(found, hashes=hashes).leaks]
    notes = [_note(text, "warning" if text.startswith(_WARNINGS) else "info") for text in found.notes]
    if len(found.classes) > MOST_CLASSES and found.kind not in _DRAWN:
        notes.append(_note(f"pictures of the first {MOST_CLASSES} of {len(found.classes)} classes are shown", "info"))
    return tuple(problems), (*warnings, *notes)


def _digest(group: str) -> str:
    """A page is passed on more easily than a folder of data: patients stand on it by a digest, as on the page of scores."""
    return content_id([group])[:8]


def _nameless(text: str, task: TaskData) -> str:
    """A sentence with digests in place of the groups that it quotes; files and classes of the same name stay."""
    groups = {item.group for item in task.items} - {item.path for item in task.items} - set(task.classes)
    for group in groups:
        text = text.replace(repr(group), repr(_digest(group)))
    return text


def _note(text: str, level: str = "warning") -> Note:
    if text.startswith("leak: "):
        return Note(level="leak", text=text.removeprefix("leak: "))
    return Note(level=level, text=text.removeprefix("warning: "))


def _page(
    read: TaskData, found: TaskData, facts: dict[str, FileFacts], data: Path, notes: tuple[Note, ...], config: EvaluateConfig
) -> DataPage:
    known = KNOWN_TASKS.get(found.name)
    expected = known.expected if known is not None else None
    images, duplicates = {item.path for item in found.items}, duplicate_rows(found, facts)
    shared = tuple((_digest(group), *counts) for group, *counts in shared_group_rows(found))
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
    if expected is not None:
        hint = f"What is here differs: {found.count_difference}." if found.count_difference else "Each published count is here."
        columns = ("counted", "published", "here", "difference")
        tables.insert(1, PageTable(title="Published counts", hint=hint, columns=columns, rows=published_rows(read, expected)))
    if found.unreadable:
        tables.append(_some("Left out", ("image and reason",), tuple((fault,) for fault in found.unreadable)))
    if shared:
        tables.append(_some("Groups in several splits", ("group", "train", "val", "test"), shared))
    if duplicates:
        tables.append(_some("Files of equal bytes", ("files", "splits"), duplicates))
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
        samples=() if found.kind in _DRAWN else _samples(found),
    )


def _some(title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> PageTable:
    hint = f"The first {MOST_ROWS} of {len(rows):,}." if len(rows) > MOST_ROWS else ""
    return PageTable(title=title, hint=hint, columns=columns, rows=rows[:MOST_ROWS])


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

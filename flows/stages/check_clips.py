"""The page about a set of labelled clips: every clip is decoded as an evaluation decodes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evaluation.config import EvaluateConfig
from evaluation.data_check import class_rows, group_rows
from evaluation.report import ContactSheet, DataPage, Note, PageTable, Picture
from evaluation.tasks import KNOWN_TASKS, TaskData, TaskError, most_unreadable
from evaluation.video.clip_check import VideoFacts, duration_rows, is_short, middle_frames, rate_rows, size_rows
from evaluation.video.clip_contents import readable_clips
from evaluation.video.clip_features import DEFAULT_FRAMES
from flows.stages.check_notes import MOST_CLASSES, as_note, digest_notes, first_rows, nameless, shared_groups
from flows.stages.clip_reading import CLIP_SOURCE, video_facts

__all__ = ["check_clips"]


def check_clips(
    read: TaskData, data: Path, config: EvaluateConfig, lake: Path | None
) -> tuple[DataPage, tuple[Note, ...], tuple[Note, ...]]:
    """The page of a set of clips, what keeps it from being scored, and what has to be known of it.

    Args:
        read: the set.
        data: its folder.
        config: frames and windows of a clip, and how many clips may be unreadable.
        lake: whose key makes the digests of groups; None for digests without a key.

    Raises:
        TaskError: videos are missing, or no clip can be read.
    """
    frames = config.clip_frames or DEFAULT_FRAMES
    windows = config.windows_of(read.clip_windows)
    told = {"num_frames": frames, "num_windows": windows, "num_workers": config.num_workers}
    found, identity = readable_clips(read, CLIP_SOURCE, max_unreadable=1.0, **told)
    if not found.items:
        raise TaskError(f"task {read.name}: none of {len(read.items):,} clips can be read; the first: {found.unreadable[0]}")
    paths = sorted({item.path for item in found.items})
    with ThreadPoolExecutor(config.num_workers) as pool:
        facts = dict(zip(paths, pool.map(video_facts, paths), strict=True))
    problems, notes = _notes(read, found, facts, config, frames, lake)
    notes = (*(as_note(text) for text in identity.leaks), *notes, *digest_notes(found, lake))
    return _page(read, found, facts, data, (*problems, *notes), frames, config, lake), problems, notes


def _notes(
    read: TaskData, found: TaskData, facts: dict[str, VideoFacts], config: EvaluateConfig, frames: int, lake: Path | None
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    problems, notes = [], []
    if len(found.unreadable) > most_unreadable(len(read.items), config.max_unreadable):
        text = (
            f"{len(found.unreadable):,} of {len(read.items):,} clips cannot be used, more than --max-unreadable {config.max_unreadable:g} "
            "allows; replace or remove them"
        )
        problems.append(Note(level="problem", text=text))
    try:
        notes += [as_note(nameless(text, found, lake)) for text in found.validate()]
    except TaskError as error:
        problems.append(Note(level="problem", text=nameless(str(error), read, lake)))
    short = sum(is_short(item, facts[item.path], num_frames=frames) for item in found.items)
    if short:
        notes.append(as_note(f"{short:,} clips have fewer frames than the {frames} that are read: some are read twice"))
    variable = sum(one.is_variable for one in facts.values())
    if variable:
        notes.append(as_note(f"{variable:,} videos have a variable frame rate; frames are found by their times", "info"))
    notes += [as_note(text, "warning" if text.startswith("unreadable") else "info") for text in found.notes]
    return tuple(problems), tuple(notes)


def _page(
    read: TaskData,
    found: TaskData,
    facts: dict[str, VideoFacts],
    data: Path,
    notes: tuple[Note, ...],
    frames: int,
    config: EvaluateConfig,
    lake: Path | None,
) -> DataPage:
    shared = shared_groups(found, lake)
    is_known = any(item.group != item.path for item in found.items) and found.are_patients
    tables = [
        PageTable(title="Counts", hint="Clips.", columns=("class", "train", "val", "test", "all"), rows=class_rows(found)),
        PageTable(
            title="Length",
            hint="Seconds.",
            columns=("split", "clips", "videos", "min", "median", "max"),
            rows=duration_rows(found),
        ),
        PageTable(
            title="Patients, or other groups",
            hint="Clips of one group have to stay in one split. A video is a group of its own if the data names none.",
            columns=("split", "groups", "fewest clips", "median", "most"),
            rows=group_rows(found),
        ),
        PageTable(title="Frame rates", columns=("rate", "videos"), rows=rate_rows(facts)),
        PageTable(title="Picture sizes", columns=("width x height", "videos"), rows=size_rows(facts)),
    ]
    if found.unreadable:
        tables.append(first_rows("Left out", ("clip and reason",), tuple((fault,) for fault in found.unreadable)))
    if shared:
        tables.append(first_rows("Groups in several splits", ("group", "train", "val", "test"), shared))
    known = KNOWN_TASKS.get(found.name)
    hours = sum(one.seconds for one in facts.values()) / 3600
    return DataPage(
        title=f"Data check: {found.name}",
        subtitle=f"{found.kind}, {len(found.items):,} clips of {len(facts):,} videos",
        facts=(
            ("folder", str(data.absolute())),
            ("classes", ", ".join(found.classes)),
            *((("reads", known.data),) if known else ()),
            ("read of a clip", f"{frames} frames, {config.windows_of(read.clip_windows)} windows"),
            ("head chosen by", found.protocol.primary.replace("_", " ")),
        ),
        tiles=(
            (f"{len(found.items):,}", "clips"),
            (f"{len(facts):,}", "videos"),
            (f"{hours:.2f}", "hours of video"),
            (f"{len({item.group for item in found.items}):,}" if is_known else "unknown", "patients or groups"),
            (f"{len(found.unreadable):,}", "unreadable, left out"),
            (f"{len(shared):,}", "groups in several splits"),
        ),
        notes=notes,
        tables=tuple(tables),
        samples=tuple(_sheet(found, name, config) for name in found.classes[:MOST_CLASSES]),
        unit="clips",
    )


def _sheet(found: TaskData, name: str, config: EvaluateConfig) -> ContactSheet:
    shown = middle_frames(found, name, CLIP_SOURCE, num_workers=config.num_workers)
    number = sum(item.label == name for item in found.items)
    return ContactSheet(title=name, num_frames=number, pictures=tuple(Picture(jpeg=one.jpeg, caption=one.caption) for one in shown))

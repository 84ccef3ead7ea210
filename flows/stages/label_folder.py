"""The folder that labelling is done from: pictures, their table, a contact sheet, and the files of labelling tools."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curation.labelling import (
    ChosenFrame,
    ContactSheet,
    GivenLabels,
    LabelledFrame,
    render_contact_sheet,
    write_chosen,
    write_cvat,
    write_label_studio,
    write_labelled,
)
from curation.packs import read_frame, thumbnail
from flows.runners import say
from warehouse.labelling import StoredFrame, candidate_frames
from warehouse.lake import Lake
from warehouse.lineage import RunPlan
from warehouse.store import flush_files, read_json, write_json

__all__ = ["LabelFolder", "is_folder_of", "refuse_other_folder", "write_evaluation_set", "write_label_folder"]

THUMBNAIL_PX = 220

_RECORD = "selection.json"
"""beside labels.csv; `ingest` knows by it that the pictures are frames which it has seen already"""


_PART = re.compile(r"\.(.+)\.([1-9]\d*)\.part")
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFolder:
    """What goes into the folder."""

    frames: tuple[ChosenFrame, ...]
    labels: GivenLabels
    """so far"""
    known: Mapping[str, StoredFrame]
    """frames of these labels that are kept by now, by id"""
    classes: tuple[str, ...]
    """that a frame can have; those of the labels unless named"""
    num_candidates: int


def is_folder_of(folder: Path, plan: RunPlan) -> bool:
    """Whether a folder was written, whole, for this very choice."""
    record = folder / _RECORD
    return record.is_file() and read_json(record).get("run_id") == plan.run_id


def refuse_other_folder(folder: Path) -> None:
    """Stop before any work if a folder could not be written.

    Raises:
        FileExistsError: it holds something already, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"--out {str(folder)!r} holds something else already; give a folder that is not there yet")


def write_label_folder(lake: Lake, folder: Path, plan: RunPlan, contents: LabelFolder) -> None:
    """Write the folder at once; one that is there of the same choice is left as it is, for labels may stand in it.

    Raises:
        FileExistsError: the folder holds something else.
    """
    if is_folder_of(folder, plan):
        return
    stored = candidate_frames(lake, [frame.frame_id for frame in contents.frames])
    classes = contents.classes or contents.labels.classes

    def picture(frame_id: str) -> bytes:
        return _picture(lake, stored[frame_id])

    with _new_folder(folder) as made:
        write_chosen(made, contents.frames, picture)
        write_label_studio(made / "label_studio", contents.frames, classes, folder_name=folder.absolute().name)
        write_cvat(made / "cvat", contents.frames, classes, name=plan.run_id, read_picture=picture)
        sheet = ContactSheet(
            num_candidates=contents.num_candidates,
            num_labelled=len(contents.labels.labels.keys() & contents.known.keys()),
            classes=classes,
            frames=contents.frames,
            thumbnails=tuple(thumbnail(picture(frame.frame_id), width=THUMBNAIL_PX) for frame in contents.frames),
        )
        render_contact_sheet(sheet, made / "sheet.html")
        if contents.labels.labels:
            _write_labelled(lake, made / "labelled", contents.labels, contents.known)
        write_json(made / _RECORD, {"run_id": plan.run_id, "num_frames": len(contents.frames), "num_candidates": contents.num_candidates})


def write_evaluation_set(lake: Lake, folder: Path, labels: GivenLabels, known: Mapping[str, StoredFrame]) -> Path:
    """Write the labelled frames alone, as a folder that `endoforge evaluate --task auto` reads; returns it.

    Raises:
        FileExistsError: the folder holds something already.
    """
    with _new_folder(folder) as made:
        num_frames = _write_labelled(lake, made, labels, known)
    say(f"select-for-labels: {num_frames} labelled frames in {folder}; it shows frames, keep it as you keep the lake")
    return folder


def _write_labelled(lake: Lake, folder: Path, labels: GivenLabels, known: Mapping[str, StoredFrame]) -> int:
    frames = [
        LabelledFrame(
            frame_id=frame_id,
            video_id=known[frame_id].video_id,
            group=known[frame_id].group,
            pts_us=known[frame_id].pts_us,
            label=labels.labels[frame_id],
        )
        for frame_id in sorted(labels.labels.keys() & known.keys())
    ]
    write_labelled(folder, frames, lambda frame_id: _picture(lake, known[frame_id]))
    write_json(folder / _RECORD, {"num_frames": len(frames)})
    return len(frames)


def _picture(lake: Lake, frame: StoredFrame) -> bytes:
    return read_frame(lake.root / frame.pack_path, frame.byte_offset, frame.byte_size)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside it to fill, which becomes it if all goes well."""
    refuse_other_folder(folder)
    place = folder.absolute()
    _remove_abandoned(place)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        flush_files([path for path in part.rglob("*") if path.is_file()])
        os.replace(part, folder)
        flush_files([place])
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left of this folder, or of others that are named by an id: pictures that nobody would miss or find."""
    for part in folder.parent.glob(".*.part"):
        found = _PART.fullmatch(part.name)
        if found and (found[1] == folder.name or _ID.fullmatch(found[1])) and not _is_alive(int(found[2])):
            shutil.rmtree(part, ignore_errors=True)


def _is_alive(process: int) -> bool:
    """Whether a process of that number runs, other than this one."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is of another user
        return True
    return True

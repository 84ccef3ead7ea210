"""Which videos of a lake are held out by name: by content, file name, URI or patient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from curation.holdout.list import HoldoutList

__all__ = ["KnownVideo", "NamedVideo", "named_videos"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVideo:
    """What a lake knows of a video that could tell it for a held-out one."""

    video_id: str
    uris: tuple[str, ...]
    """every place where its content was last seen"""
    patient_ids: frozenset[str]
    """pseudonyms of all whose video it is said to be, at any of its places"""
    is_stills: bool
    """a folder of pictures, which nothing ties to each other"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedVideo:
    """Why a whole video is held out."""

    kind: str
    """patient or video"""
    reference: str
    """the held-out name; of a patient that of the hold-out"""
    reference_sha256: str | None


def named_videos(videos: Sequence[KnownVideo], held_out: HoldoutList) -> dict[str, NamedVideo]:
    """The held-out videos by video id; where several things name one, its content comes first, then its name, then its patient."""
    contents = {file.sha256: file for file in held_out.files}
    written = _by_last_part(held_out.video_names)
    found = {}
    for video in videos:
        match = None
        if video.video_id in contents:
            match = NamedVideo(kind="video", reference=contents[video.video_id].name, reference_sha256=video.video_id)
        elif video.video_id in held_out.video_names:
            match = NamedVideo(kind="video", reference=video.video_id, reference_sha256=video.video_id)
        elif name := next((name for uri in video.uris if (name := _naming(uri, written)) is not None), None):
            match = NamedVideo(kind="video", reference=_last_part(name), reference_sha256=None)
        elif video.patient_ids & held_out.patients:
            match = NamedVideo(kind="patient", reference=held_out.label, reference_sha256=None)
        if match is not None:
            found[video.video_id] = match
    return found


def _by_last_part(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Names by their last part, folded; what is absolute or a URI may have been moved, so of it the last part is all that is compared."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(_last_part(name).casefold(), []).append(name)
    return found


def _naming(uri: str, written: Mapping[str, list[str]]) -> str | None:
    """The name that stands for a URI: one whose parts are its last parts, with or without the suffix."""
    parts = [part.casefold() for part in PurePosixPath(unquote(uri)).parts]
    for last in {parts[-1], PurePosixPath(parts[-1]).stem}:
        for name in written.get(last, []):
            if name.startswith("/") or re.match("[a-z0-9+.-]+:/", name):
                return name
            folders = [part.casefold() for part in PurePosixPath(name).parts[:-1] if part not in (".", "..")]
            if folders == parts[:-1][len(parts) - 1 - len(folders) :]:
                return name
    return None


def _last_part(name: str) -> str:
    return PurePosixPath(unquote(name)).name

"""Frames that an audit brings back: the JPEG out of the private pack, a pack of its own, and the row that stands for the frame from now on.

A frame id names one picture for good, because vectors, clusters and shards go by it. So what comes back has a new id, with the same end:
the time in microseconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.filters import FrameThresholds, frame_filters, installed_filters
from curation.ingest.decide import drop_reasons
from curation.ingest.privacy_flags import hidden_share
from curation.ingest.requalify import stored_scores
from curation.ingest.scan import painted
from curation.packs import read_frame, write_pack
from curation.privacy import Box
from warehouse.records import FramePack
from warehouse.schema import table_schema

__all__ = ["Returning", "bring_back", "restored_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Returning:
    """A frame that comes back."""

    frame_id: str
    pack_path: str
    """of the private pack, relative to the lake's root"""
    byte_offset: int
    byte_size: int
    size: tuple[int, int]
    """(width, height) in pixels"""
    boxes: tuple[Box, ...]
    """in pixels: unconfirmed boxes of the private picture"""
    is_lifted: bool
    """whether the boxes were wrong; otherwise they are painted"""
    is_named: bool
    """whether a person named this very frame: thresholds do not drop it"""


def restored_id(frame_id: str) -> str:
    """The id of the frame that stands for this one after an audit; ends with the same time."""
    video, time = frame_id.rsplit("-", 1)
    return f"{video}-audited-{time}"


def bring_back(
    returning: Sequence[Returning],
    rows: Mapping[str, Mapping[str, Any]],
    *,
    root: Path,
    path: str,
    video_id: str,
    config: Mapping[str, Any],
) -> tuple[FramePack, list[dict[str, Any]]]:
    """Write the pack of the frames of one video that come back, and make their rows of the table `frames`.

    A frame that nobody named is kept or dropped by the thresholds of its ingest, among those that come back with it. A person has seen that
    it shows the inside of a patient and nobody's identity, so its out-of-body score is 0 and other private filters do not judge it.

    Args:
        returning: the frames, in time order.
        rows: of the table `frames`, by frame id.
        root: of the lake.
        path: of the pack to write, below the root.
        video_id: of the video.
        config: settings of the ingest, as recorded.

    Raises:
        ValueError: a private pack is cut short or damaged.
        FileNotFoundError: a private pack is gone.
    """
    quality = int(config["jpeg_quality"])

    def jpeg(frame: Returning) -> bytes:
        stored = read_frame(root / frame.pack_path, frame.byte_offset, frame.byte_size)
        return stored if frame.is_lifted else painted(stored, frame.boxes, quality)

    written = write_pack(root / path, ((restored_id(frame.frame_id), jpeg(frame)) for frame in returning))
    made: list[dict[str, Any]] = []
    for frame, entry in zip(returning, written.entries, strict=True):
        row = dict(rows[frame.frame_id])
        boxes = tuple(Box(*box) for box in json.loads(row["text_boxes"] or "[]"))
        if frame.is_lifted:
            boxes = tuple(box for box in boxes if box not in frame.boxes)
        made.append(
            row
            | {each.name: None for each in frame_filters() if each.is_private and each.name in row}
            | {
                "frame_id": entry.frame_id,
                "out_of_body": 0.0,
                "text_share": hidden_share(boxes, frame.size),
                "unconfirmed_share": 0.0,
                "text_boxes": json.dumps(boxes),
                "keep": True,
                "drop_reason": None,
                "pack_id": written.pack_id,
                "byte_offset": entry.byte_offset,
                "byte_size": entry.byte_size,
                "width": frame.size[0],
                "height": frame.size[1],
                "sha256": entry.sha256,
            }
        )
    for row, frame, reason in zip(made, returning, _reasons(made, config), strict=True):
        if not frame.is_named:
            row.update(keep=reason is None, drop_reason=reason)
    pack = FramePack(pack_id=written.pack_id, video_id=video_id, path=path, num_bytes=written.num_bytes, num_frames=len(written.entries))
    return pack, made


def _reasons(rows: Sequence[dict[str, Any]], config: Mapping[str, Any]) -> list[str | None]:
    options = {each.option for each in installed_filters()}
    of_installed = {option: value for option, value in config.get("thresholds", {}).items() if option in options}
    names = [field.name for field in dataclasses.fields(FrameThresholds)]
    thresholds = FrameThresholds(**{**{name: config[name] for name in names if name in config}, "thresholds": of_installed})
    table = pa.Table.from_pylist(list(rows), table_schema("frames", scores=[each.name for each in installed_filters()]))
    scores = stored_scores(table, settled=[None] * len(rows), is_stored=np.ones(len(rows), bool))
    return drop_reasons(scores, thresholds)

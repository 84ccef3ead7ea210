"""The lake's rows about a scanned video: one for each sampled frame, and small pictures of what was dropped."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import IO

import cv2
import numpy as np
import pyarrow as pa

from curation.filters import installed_filters
from curation.ingest.decide import is_spare
from curation.ingest.privacy_flags import hidden_share
from curation.ingest.scan import Sample, Scan, spooled
from curation.packs import PackEntry
from curation.privacy import Box, pixelated
from warehouse.records import VideoRef
from warehouse.schema import table_schema

__all__ = ["frames_table", "preview_rows"]

_ROWS_AT_ONCE = 512  # as Python objects a row takes ten times what it takes as columns

_PREVIEWS_PER_REASON = 3
_PREVIEW_WIDTH = 160
_PREVIEW_COLUMNS = 12


def frames_table(video: VideoRef, key: str, scan: Scan, ids: list[str], places: Mapping[str, tuple[str, PackEntry]]) -> pa.Table:
    """One row of the table `frames` for each sample, kept or dropped; `places` say in which pack, and where, the stored ones lie."""
    rows = _frame_rows(video, key, scan, ids, places)
    schema = table_schema("frames", scores=[each.name for each in installed_filters()])
    parts = [pa.Table.from_pylist([], schema)]
    while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        parts.append(pa.Table.from_pylist(part, schema))
    return pa.concat_tables(parts).combine_chunks()


def _frame_rows(
    video: VideoRef, key: str, scan: Scan, ids: list[str], places: Mapping[str, tuple[str, PackEntry]]
) -> Iterator[dict[str, object]]:
    for frame_id, sample in zip(ids, scan.samples, strict=True):
        pack_id, place = places.get(frame_id, (None, None))
        yield {
            "frame_id": frame_id,
            "video_id": video.video_id,
            "ingest_key": key,
            "frame_index": sample.frame_index,
            "pts_us": sample.pts_us,
            "decoder": scan.report.decoder,
            "crop_x": sample.area.x,
            "crop_y": sample.area.y,
            "crop_width": sample.area.width,
            "crop_height": sample.area.height,
            **{name: None if math.isnan(score) else score for name, score in (sample.scores | {"out_of_body": sample.out_of_body}).items()},
            "room_evidence": None if math.isnan(sample.room_evidence) else sample.room_evidence,
            "imaging_mode": sample.imaging_mode,
            "text_share": _share(sample.text_boxes, sample.stored_size),
            "unconfirmed_share": _share(None if sample.text_boxes is None else sample.unconfirmed_boxes, sample.stored_size),
            "text_boxes": json.dumps(sample.text_boxes) if sample.text_boxes is not None else None,
            "phash": f"{sample.phash:016x}",
            "keep": sample.drop_reason is None,
            "drop_reason": sample.drop_reason,
            "pack_id": pack_id,
            "byte_offset": place.byte_offset if place else None,
            "byte_size": place.byte_size if place else None,
            "width": sample.stored_size[0] if place else None,
            "height": sample.stored_size[1] if place else None,
            "sha256": place.sha256 if place else None,
        }


def _share(boxes: tuple[Box, ...] | None, size: tuple[int, int]) -> float | None:
    return None if boxes is None else hidden_share(boxes, size)


def preview_rows(key: str, ids: list[str], samples: list[Sample], spool: IO[bytes]) -> list[dict[str, object]]:
    """Small pictures of up to three dropped frames per reason: the first, the middle and the last."""
    dropped: dict[str, list[int]] = defaultdict(list)
    for position, sample in enumerate(samples):
        if sample.drop_reason:
            dropped[sample.drop_reason].append(position)
    rows: list[dict[str, object]] = []
    for reason, positions in sorted(dropped.items()):
        chosen = sorted({positions[round(i * (len(positions) - 1) / (_PREVIEWS_PER_REASON - 1))] for i in range(_PREVIEWS_PER_REASON)})
        for position in chosen:
            picture = np.asarray(cv2.imdecode(np.frombuffer(spooled(spool, samples[position]), np.uint8), cv2.IMREAD_COLOR))
            height = max(1, round(_PREVIEW_WIDTH * picture.shape[0] / picture.shape[1]))
            small = cv2.resize(picture, (_PREVIEW_WIDTH, height), interpolation=cv2.INTER_AREA)
            # a corrupt frame was judged for privacy no more than one dropped for it; a quarantined one is masked here
            if not is_spare(samples[position]) and reason != "text_unaudited":
                small = pixelated(small, _PREVIEW_COLUMNS)
            _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
            rows.append({"frame_id": ids[position], "ingest_key": key, "drop_reason": reason, "jpeg": bytes(jpeg)})
    return rows

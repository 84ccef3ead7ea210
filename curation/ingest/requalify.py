"""Decide anew from stored scores: other thresholds, and percentiles of each device, without decoding anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.filters import FrameFilter, FrameThresholds, frame_filters, score_names
from curation.ingest.config import RequalifyConfig, percentiles
from curation.ingest.decide import FrameScores, drop_reasons, quality_reasons, spare_reasons
from warehouse.schema import TABLES
from warehouse.store import write_parquet

__all__ = ["REQUALIFY_VERSION", "RequalifiedPart", "device_thresholds", "requalify_part", "stored_scores", "usable_scores"]

REQUALIFY_VERSION = 1

_CHANGED = TABLES["requalified"].remove(TABLES["requalified"].get_field_index("run_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequalifiedPart:
    """What became of the frames of one part."""

    path: str
    """Parquet of those that ingest had decided otherwise: the table `requalified` without run_id"""
    num_frames: int
    num_kept: int
    num_brought_back: int
    """kept now and not by ingest"""
    num_taken_out: int
    """kept by ingest and not now"""
    num_not_stored: int
    """would be kept, but have no pixels"""


def usable_scores(part: str, *, out: str, config: RequalifyConfig) -> str:
    """Write, to the folder `out`, the scores judged by device of those frames of a part that pass every fixed threshold; returns the file.

    Blur is the one that is compared with thresholds, as at a mean luma of 100.
    """
    tables = []
    for device, rows, scores in _videos(Path(part)):
        is_usable = np.array([reason is None for reason in quality_reasons(scores, config)])
        judged = {each.name: each.compared(scores.numbers) for each in frame_filters() if each.by_device}
        columns = {"device": pa.array([device] * rows.num_rows)}
        columns |= {name: pa.array(values, mask=np.isnan(values)) for name, values in judged.items()}
        tables.append(pa.table(columns).filter(pa.array(is_usable)))
    path = Path(out, f"{Path(part).name}.parquet")
    write_parquet(path, pa.concat_tables(tables))
    return str(path)


def device_thresholds(rows: Sequence[Mapping[str, Any]], config: RequalifyConfig) -> dict[str, FrameThresholds]:
    """The thresholds of each device with frames enough for its percentiles to count.

    Args:
        rows: of each device its name, num_frames, and the percentile asked for of each score in `percentiles(config)`.
        config: percentiles and what bounds them: a percentile only ever tightens a fixed threshold, and not beyond blur_cap or share_floor.
    """
    judged = [each for each in frame_filters() if each.by_device and each.name in percentiles(config)]
    found: dict[str, FrameThresholds] = {}
    for row in rows:
        if row["num_frames"] < config.min_device_frames:
            continue
        tighter = {each.option: _tightened(each, row[each.name], config) for each in judged if row[each.name] is not None}
        found[row["device"]] = config.changed(tighter)
    return found


def _tightened(judged: FrameFilter, percentile: float, config: RequalifyConfig) -> float:
    """A threshold tightened to a percentile, as far as the settings let it; those of installed filters have no such limit."""
    fixed = config.value(judged.option)
    is_installed = judged.name in config.percentiles
    if judged.bad == "low":
        return max(fixed, percentile if is_installed else min(percentile, config.blur_cap))
    return min(fixed, percentile if is_installed else max(percentile, config.share_floor))


def requalify_part(part: str, *, out: str, config: RequalifyConfig, by_device: Mapping[str, FrameThresholds]) -> RequalifiedPart:
    """Decide the frames of a part anew and write those that ingest had decided otherwise to the folder `out`.

    Args:
        part: folder of Parquet files with whole videos, from `export_scores`.
        out: folder to write to.
        config: the thresholds.
        by_device: other thresholds for some devices.
    """
    path = Path(out, f"{Path(part).name}.parquet")
    num_frames = num_kept = num_back = num_out = num_not_stored = 0
    changed = [_CHANGED.empty_table()]
    for device, rows, scores in _videos(Path(part)):
        reasons = drop_reasons(scores, by_device.get(device, config))
        keep = np.array([reason is None for reason in reasons])
        kept_before = rows["keep"].to_numpy()
        differs = np.array([new != old for new, old in zip(reasons, rows["drop_reason"].to_pylist(), strict=True)])
        verdicts = {
            "frame_id": rows["frame_id"],
            "keep": pa.array(keep),
            "drop_reason": pa.array(reasons, pa.string()),
            "device": pa.array([device] * len(reasons)),
        }
        changed.append(pa.table(verdicts, schema=_CHANGED).filter(pa.array(differs)))
        num_frames += len(reasons)
        num_kept += int(keep.sum())
        num_back += int((keep & ~kept_before).sum())
        num_out += int((~keep & kept_before).sum())
        num_not_stored += reasons.count("not_stored")
    write_parquet(path, pa.concat_tables(changed))
    return RequalifiedPart(
        path=str(path),
        num_frames=num_frames,
        num_kept=num_kept,
        num_brought_back=num_back,
        num_taken_out=num_out,
        num_not_stored=num_not_stored,
    )


def _videos(part: Path) -> Iterator[tuple[str, pa.Table, FrameScores]]:
    """Each video of a part, in a fixed order: its device, its rows in time order and its scores."""
    table = pq.read_table(part, partitioning=None).sort_by([("video_id", "ascending"), ("frame_index", "ascending")]).combine_chunks()
    spare = spare_reasons()
    _, starts = np.unique(table["video_id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), table.num_rows], strict=True):
        rows = table.slice(start, end - start)
        # what ingest dropped for a reason that no threshold made has no pixels that could be looked at again
        settled = [reason if reason is not None and reason not in spare else None for reason in rows["drop_reason"].to_pylist()]
        yield rows["device"][0].as_py(), rows, stored_scores(rows, settled=settled, is_stored=rows["is_stored"].to_numpy())


def stored_scores(rows: pa.Table, *, settled: Sequence[str | None], is_stored: npt.NDArray[np.bool_]) -> FrameScores:
    """The scores of one video's frames from rows of the table `frames`, in time order.

    Args:
        rows: [num_frames], with every score and phash.
        settled: see `FrameScores`.
        is_stored: see `FrameScores`.
    """
    return FrameScores(
        numbers={name: rows[name].to_numpy().astype(np.float32) for name in score_names()},
        phash=[None if digits is None else int(digits, 16) for digits in rows["phash"].to_pylist()],
        settled=settled,
        is_stored=is_stored,
    )

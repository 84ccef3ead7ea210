"""The card of a dataset of clips: README.md with the front matter that the Hugging Face hub reads, from the lake's facts alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warehouse.lake import Lake
from warehouse.markdown import markdown_table
from warehouse.records import Dataset

__all__ = ["clip_card"]


def clip_card(
    lake: Lake, dataset: Dataset, samples: Path, *, clip_key: str, dedup_id: str, settings: Mapping[str, Mapping[str, Any]]
) -> str:
    """The text of README.md.

    Args:
        lake: where it was made.
        dataset: what it is about.
        samples: its table of clips, written already.
        clip_key: names the settings of cutting.
        dedup_id: of the deduplication that it was drawn after.
        settings: of each stage, by its name.
    """
    (row,) = lake.rows(
        """SELECT count(DISTINCT c.video_id) AS num_videos, sum(c.num_frames)::BIGINT AS num_frames, sum(c.seconds) AS seconds,
                  count(*) FILTER (c.text_share > 0) AS num_boxed, coalesce(avg(c.text_share), 0)::DOUBLE AS text_share,
                  any_value(c.fps) AS fps, any_value(least(c.width, c.height)) AS side
           FROM (SELECT DISTINCT clip_id FROM read_parquet($1)) s
           JOIN (FROM current_clips WHERE clip_key = $2) c USING (clip_id)""",
        [str(samples), clip_key],
    )
    funnel = lake.rows(
        """SELECT step, coalesce(reason, '') AS reason, num_clips FROM clip_funnel
           WHERE clip_key = $1 ORDER BY position, num_clips DESC, reason""",
        [clip_key],
    )
    (dedup,) = lake.rows(
        "SELECT count(*) AS num, count(*) FILTER (NOT is_duplicate) AS num_unique FROM dedup WHERE dedup_id = $1", [dedup_id]
    )
    steps = [(one["step"], one["reason"], one["num_clips"]) for one in funnel]
    steps += [("candidates", "", dedup["num"]), ("unique", "", dedup["num_unique"]), ("in shards", "", dataset.num_images)]
    num_bytes = sum(shard.num_bytes for shard in dataset.shards)
    lines = [
        "---",
        "license: other",
        "license_name: institutional-terms",
        f"pretty_name: {json.dumps(dataset.name)}",
        "tags:",
        *(f"- {tag}" for tag in ("medical", "endoscopy", "gastroenterology", "video", "webdataset", "endoforge")),
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        '    path: "*.tar"',
        "---",
        "",
        f"# {dataset.name}",
        "",
        f"{dataset.num_images:,} clips of gastrointestinal endoscopy from {row['num_videos']:,} videos, for self-supervised pretraining of "
        f"video models: {len(dataset.shards):,} WebDataset tars, {num_bytes / 1e9:.3f} GB. Made by EndoForge.",
        "",
        f"Each sample is an MP4 (H.264, {row['fps']:g} frames a second, shorter side {row['side']} pixels, no sound) and a JSON with "
        "clip_id, video_id, patient (a keyed pseudonym, or empty), group (what a batch must not hold twice), start_s, end_s, fps, "
        "num_frames, width and height.",
        "",
        f"Content id `{dataset.dataset_id}` (SHA-256 over the hashes of the tars in order). `sha256sum -c SHA256SUMS` checks every file.",
        "",
        "## Counts",
        "",
        *markdown_table(
            ("what", "number"),
            [
                ("clips", f"{dataset.num_images:,}"),
                ("videos", f"{row['num_videos']:,}"),
                ("frames", f"{row['num_frames'] or 0:,}"),
                ("seconds of source footage", f"{row['seconds'] or 0:,.0f}"),
                ("bytes of the tars", f"{num_bytes:,}"),
            ],
        ),
        "## Funnel",
        "",
        *markdown_table(("step", "reason", "clips"), [(step, reason, f"{number:,}") for step, reason, number in steps]),
        "## How it was made",
        "",
        *(line for stage, values in settings.items() for line in _stage(stage, values)),
        "## Privacy",
        "",
        "Every frame of every clip was looked at by the filters of ingest: none is out of the body, and boxes over text are black in all "
        f"frames of a clip alike. {row['num_boxed']:,} clips have such a box, and boxes hide {row['text_share']:.2%} of a picture on "
        "average. Filters miss some. The files hold ids and pixels: no path, name or date. This is the state when the card was written.",
        "",
        "## Licence",
        "",
        "None is granted by this card. The terms of the institution that holds the recordings apply: put them here before data leaves.",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _stage(stage: str, values: Mapping[str, Any]) -> list[str]:
    return [f"### {stage}", "", *markdown_table(("setting", "value"), [(key, json.dumps(value)) for key, value in sorted(values.items())])]

"""A small dataset of clips, written and closed by the project's own code: moving gradients of a few videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from curation.packs import write_pack
from curation.shards import CLIP_SCHEMA, CLIPS, finish_dataset, plan_shards, write_shard
from curation.video import encode_clip
from warehouse.records import Dataset

__all__ = ["moving_clip", "write_clip_dataset"]


def moving_clip(number: int, *, num_frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames [height, width, 3] uint8 of a bright square that moves over a gradient, other for each number."""
    width, height = size
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    frames = []
    for moment in range(num_frames):
        rgb = np.stack([(column + 40 * number) % 200 + 30, row % 160 + 20, np.full((height, width), 60)], axis=2).astype(np.uint8)
        x = (7 * number + 2 * moment) % max(1, width - 16)
        rgb[height // 3 : height // 3 + 16, x : x + 16] = (250, 240, 200)
        frames.append(rgb)
    return frames


def write_clip_dataset(
    root: Path,
    *,
    name: str = "clips",
    num_videos: int = 4,
    clips_per_video: int = 2,
    num_frames: int = 40,
    fps: float = 30.0,
    size: tuple[int, int] = (64, 48),
    min_shards: int = 2,
) -> Dataset:
    """Write `root`/shards/`name` as `endoforge curate --clips` does; returns its record."""
    rows = []
    for video in range(num_videos):
        names = [f"{video:016x}-clip{clip}" for clip in range(clips_per_video)]
        clips = [
            encode_clip(moving_clip(video * clips_per_video + clip, num_frames=num_frames, size=size), size=size, fps=fps, crf=18)
            for clip in range(clips_per_video)
        ]
        path = f"clips/{video}.tar"
        written = write_pack(root / path, zip(names, clips, strict=True), suffix="mp4")
        rows += [
            {
                "clip_id": entry.frame_id,
                "video_id": f"{video:064x}",
                "pack_path": path,
                "byte_offset": entry.byte_offset,
                "byte_size": entry.byte_size,
                "start_us": 5_000_000 * clip,
                "end_us": 5_000_000 * clip + round((num_frames - 1) / fps * 1e6),
                "fps": fps,
                "num_frames": num_frames,
                "width": size[0],
                "height": size[1],
                "patient": f"p{video // 2}",
                "cluster_path": [video, 0],
            }
            for clip, entry in enumerate(written.entries)
        ]
    table = pa.Table.from_pylist(rows, schema=CLIP_SCHEMA)
    plans = plan_shards(table, name=name, images_per_shard=1000, min_shards=min_shards, seed=0, lake_root=str(root), kind=CLIPS)
    shards = [write_shard(plan, lake_root=str(root)) for plan in plans]
    return finish_dataset(plans, shards, selection_id="5" * 64, lake_root=str(root))

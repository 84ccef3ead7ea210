"""What order tells of clips that hold the same pictures: the phantom's camera going in and coming out.

    python tests/benchmarks/bench_motion.py MOTION_SET IMAGE_BACKBONE [--seeds 3]

MOTION_SET is `evaluation/motion` of `endoforge demo --phantom.motion-pairs 2`. The image backbone sees 8 frames alone, averaged or one
after another; a tiny video network has random weights, its temporal branch too, and a time embedding. Heads are linear probes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
import pyarrow.parquet as pq
import torch

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate_model
from evaluation.tasks import resolve_task
from evaluation.video.clip_contents import readable_clips
from flows.stages.clip_reading import CLIP_SOURCE
from flows.stages.video_network import VideoNetwork
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeBlock, SpaceTimeSizes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_video_network(device: str, weights: str, seed: int) -> VideoNetwork:
    """A tiny network whose temporal branch and time embedding are random, not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=192, depth=4, num_heads=3, image_size=96, num_frames=8))
        for block in module.blocks:
            torch.nn.init.trunc_normal_(cast(SpaceTimeBlock, block).temporal_fc.weight, std=0.1)
        torch.nn.init.trunc_normal_(module.time_embed, std=0.5)
    return VideoNetwork(module=module.eval().requires_grad_(False), mean=MEAN, std=STD)


def motion_rows(
    model: ModelRef,
    name: str,
    motion: Path,
    *,
    pooling: Literal["mean", "ordered"],
    seed: int,
    heads: tuple[str, ...] = ("linear",),
    image_size: int | None = None,
    num_frames: int = 8,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Rows of the table, one a head: a model's accuracy on the clips of MOTION_SET with its interval over patients, and at each station.

    Args:
        model: of clips, or of images, which sees each frame at `image_size` pixels.
        name: of the rows.
        motion: the set of clips.
        pooling: what a clip's vector is.
        seed: of the heads.
        heads: knn, linear or finetune.
        image_size: pixels; None for the model's own.
        num_frames: of a clip.
        settings: other ones of the evaluation.
    """
    task, identity = readable_clips(resolve_task("clips", motion), CLIP_SOURCE, num_frames=num_frames)
    config = EvaluateConfig(
        **{
            "heads": heads,
            "clip_pooling": pooling,
            "clip_frames": num_frames,
            "seed": seed,
            "image_size": image_size,
            "device": "cpu",
            "num_bootstrap": 50,
            **settings,
        }
    )
    stations = _stations(motion / "clips.csv")
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        scores = evaluate_model(model, task=task, identity=identity, config=config, cache_dir=cache, data=str(motion), clips=CLIP_SOURCE)
        for found in (score for score in scores if score.metric == "accuracy"):
            right: dict[str, list[bool]] = {"caecum": [], "descending_colon": []}
            for row in pq.read_table(Path(cache) / found.details["predictions_file"]).to_pylist():
                right[stations[row["path"]]].append(row["label"] == row["prediction"])
            parts = " | ".join(f"{np.mean(values):.3f}" for values in right.values())
            interval = f"{found.ci_low:.3f} to {found.ci_high:.3f}"
            rows.append(f"| {name} | {found.head} | {pooling} | {seed} | {found.value:.3f} | {interval} | {parts} |")
    return rows


POOLINGS: tuple[Literal["mean", "ordered"], ...] = ("mean", "ordered")
HEADINGS = "| model | head | vector | seed | accuracy | 95% interval | caecum | descending colon |\n|---|---|---|---|---|---|---|---|"


def main() -> None:
    """Print a row for each model, pooling and seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("motion", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=96)
    told = parser.parse_args()
    image = ModelRef(model_id="image", label="image", path=str(told.backbone))
    print(HEADINGS)
    for pooling in POOLINGS:  # its features and probes are the same for all seeds
        rows = motion_rows(image, "image backbone", told.motion, pooling=pooling, seed=0, image_size=told.image_size)
        print("\n".join(rows), flush=True)
    for seed in range(told.seeds):
        video = ModelRef(model_id=f"video {seed}", label="random video network", path="", clip_network=random_video_network)
        for pooling in POOLINGS:
            print("\n".join(motion_rows(video, "random video network", told.motion, pooling=pooling, seed=seed)), flush=True)


def _stations(table: Path) -> dict[str, str]:
    lines = [line.split(",") for line in table.read_text().splitlines()]
    return {row[lines[0].index("video")]: row[lines[0].index("station")] for row in lines[1:]}


if __name__ == "__main__":
    main()

"""What order tells of clips that hold the same pictures: the phantom's camera going in and coming out.

    python tests/benchmarks/bench_motion.py MOTION_SET IMAGE_BACKBONE [--seeds 3]

MOTION_SET is `evaluation/motion` of `endoforge demo --phantom.motion-pairs 2`. The image backbone sees 8 frames alone, averaged or one
after another; a tiny video network has random weights, its temporal branch too, and a time embedding. Heads are linear probes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

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
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_video_network(device: str, weights: str, seed: int) -> VideoNetwork:
    """A tiny network whose temporal branch and time embedding are random, not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=192, depth=4, num_heads=3, image_size=96, num_frames=8))
        for block in module.blocks:
            torch.nn.init.trunc_normal_(block.temporal_fc.weight, std=0.1)  # type: ignore[union-attr, arg-type]
        torch.nn.init.trunc_normal_(module.time_embed, std=0.5)
    return VideoNetwork(module=module.eval().requires_grad_(False), mean=MEAN, std=STD)


def main() -> None:
    """Print a row for each model, pooling and seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("motion", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=96)
    told = parser.parse_args()
    task, identity = readable_clips(resolve_task("clips", told.motion), CLIP_SOURCE, num_frames=8)
    stations = _stations(told.motion / "clips.csv")
    image = ModelRef(model_id="image", label="image", path=str(told.backbone))
    print("| model | pooling | seed | accuracy | 95% interval | caecum | descending colon |\n|---|---|---|---|---|---|---|")
    for seed in range(told.seeds):
        video = ModelRef(model_id=f"video {seed}", label="random video network", path="", clip_network=random_video_network)
        for model, name, pooling in (
            (image, "image backbone", "mean"),
            (image, "image backbone", "ordered"),
            (video, "random video network", "mean"),
            (video, "random video network", "ordered"),
        ):
            if model is image and seed:
                continue  # its features and probes are the same for all seeds
            own_size = None if model is video else told.image_size
            config = EvaluateConfig(heads=("linear",), clip_pooling=pooling, seed=seed, image_size=own_size, device="cpu", num_bootstrap=50)  # type: ignore[arg-type]
            with tempfile.TemporaryDirectory() as cache:
                scores = evaluate_model(
                    model, task=task, identity=identity, config=config, cache_dir=cache, data=str(told.motion), clips=CLIP_SOURCE
                )
                found = next(score for score in scores if score.metric == "accuracy")
                rows = pq.read_table(Path(cache) / found.details["predictions_file"]).to_pylist()
            right = {station: [] for station in ("caecum", "descending_colon")}  # type: dict[str, list[bool]]
            for row in rows:
                right[stations[row["path"]]].append(row["label"] == row["prediction"])
            parts = " | ".join(f"{np.mean(values):.3f}" for values in right.values())
            interval = f"{found.ci_low:.3f} to {found.ci_high:.3f}"
            print(f"| {name} | {pooling} | {seed} | {found.value:.3f} | {interval} | {parts} |", flush=True)
    print(json.dumps({"test clips": len(rows), "patients": found.num_groups, "frames": 8}))


def _stations(table: Path) -> dict[str, str]:
    lines = [line.split(",") for line in table.read_text().splitlines()]
    return {row[lines[0].index("video")]: row[lines[0].index("station")] for row in lines[1:]}


if __name__ == "__main__":
    main()

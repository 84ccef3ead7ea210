"""What a video network learns of motion when all of it is trained, beside the same network on single frames.

    python -m tests.benchmarks.bench_motion_tuned MOTION_SET [--runs RUNS] [--seeds 0 1 2]

MOTION_SET is `evaluation/motion` of `endoforge demo --phantom.motion-pairs 8`. RUNS is that of bench_video_model, whose trained networks
are scored too. Each network is fine-tuned for 20 epochs at one rate: with the order of frames told to it, on the middle frame of each clip,
and for the first seed with its own time embedding. Intervals are over patients.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flows.stages.video_network import video_model
from pretrain.checkpoint import best_checkpoint, step_dir, whole_checkpoints
from pretrain.recipes import recipe
from tests.benchmarks.bench_motion import HEADINGS, motion_rows
from tests.benchmarks.bench_video_model import random_start

TUNING: dict[str, Any] = {"tune_epochs": 20, "finetune_learning_rates": (1e-3,), "clip_windows": 1}
WAYS = (("8 frames", 8, "auto"), ("1 frame", 1, "auto"), ("8 frames, own time embedding", 8, "own"))
"""what a row is called, the frames of a clip, and what tells their order"""


def main() -> None:
    """Print a row for each model, start and seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("motion", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    told = parser.parse_args()
    torch.set_num_threads(1)
    whole = recipe("endofm-tiny")
    print(HEADINGS, flush=True)
    for way, num_frames, order in WAYS:
        for seed in told.seeds[:1] if order == "own" else told.seeds:
            models = {"random weights": random_start(replace(whole, train=replace(whole.train, seed=seed)))}
            if told.runs is not None:
                run = told.runs / f"seed-{seed}"
                folder = step_dir(run, best_checkpoint(whole_checkpoints(run)).step) / "backbone"
                models["endofm-tiny"] = video_model(folder, model_id=f"video {seed}", label="video")
            for name, model in models.items():
                settings = {**TUNING, "clip_order": order}
                row: dict[str, Any] = {"pooling": "mean", "seed": seed, "heads": ("finetune",), "num_frames": num_frames}
                print("\n".join(motion_rows(model, f"{name}, {way}", told.motion, settings=settings, **row)), flush=True)


if __name__ == "__main__":
    main()

"""What pretraining on clips adds: the recipe endofm-tiny against random weights and against image models, on the phantom's motion.

    python -m tests.benchmarks.bench_video_model CLIPS MOTION_SET RUNS [--images BACKBONE ...] [--seeds 0 1 2]

CLIPS is a dataset of clips, `LAKE/shards/NAME`; MOTION_SET is `evaluation/motion` of `endoforge demo --phantom.motion-pairs 2`. A run for
each seed is made below RUNS, and gone on with by the next call. BACKBONE is the folder of an image backbone, one for each seed: frames are
averaged. All models see 8 frames; k-NN and linear probes; intervals are over patients.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from evaluation.backbone import ModelRef
from flows.stages.video_network import VideoNetwork, video_model
from pretrain.checkpoint import best_checkpoint, step_dir, whole_checkpoints
from pretrain.config import PretrainConfig
from pretrain.launch import pretrain
from pretrain.recipes import recipe
from pretrain.video.network import build_video_network
from tests.benchmarks.bench_motion import HEADINGS, POOLINGS, motion_rows


def trained(config: PretrainConfig, clips: Path, run: Path) -> Path:
    """Train to the end, if not yet done; gives the folder of the last backbone."""
    pretrain(config, dataset_dir=clips, run_dir=run, run_id=run.name, validate=None, backend="local")
    return step_dir(run, best_checkpoint(whole_checkpoints(run)).step) / "backbone"


def random_start(config: PretrainConfig) -> ModelRef:
    """The network that a run of these settings starts from."""

    def network(device: str, weights: str, seed: int) -> VideoNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.train.seed)
            module = build_video_network(config, student=False).backbone
        return VideoNetwork(module=module, mean=config.augment.mean, std=config.augment.std)

    return ModelRef(model_id=f"random {config.train.seed}", label="random", path="", clip_network=network)


def main() -> None:
    """Print a row for each model, head, vector and seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path)
    parser.add_argument("motion", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    told = parser.parse_args()
    torch.set_num_threads(1)
    whole = recipe("endofm-tiny")
    configs = {seed: replace(whole, train=replace(whole.train, seed=seed)) for seed in told.seeds}
    # all runs before any score: a loader that is forked after an evaluation can wait for its threads without end
    folders = {seed: trained(config, told.clips, told.runs / f"seed-{seed}") for seed, config in configs.items()}
    print(HEADINGS, flush=True)
    for number, (seed, config) in enumerate(configs.items()):
        folder = folders[seed]
        models = [
            ("endofm-tiny", video_model(folder, model_id=f"video {seed}", label="video")),
            ("its random weights", random_start(config)),
        ]
        if number < len(told.images):
            models.append(("image model", ModelRef(model_id=f"image {seed}", label="image", path=str(told.images[number].absolute()))))
        for name, model in models:
            for pooling in POOLINGS:
                rows = motion_rows(model, name, told.motion, pooling=pooling, seed=seed, heads=("knn", "linear"))
                print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()

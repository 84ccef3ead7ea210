"""Pretraining on clips: clips a second of a loader's core, a step against its bare passes, grouped views against single ones.

Prints one line of JSON. CPU seconds are counted where one process works alone, so that a busy machine changes little.

    python -m tests.benchmarks.bench_video [--clips 8] [--whole]

`--whole` takes the step at ViT-B/16's width with two blocks; without it, a width of 192.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.parallel import current_worker
from pretrain.reader import ShardReader
from pretrain.recipes import recipe
from pretrain.state import build_state
from pretrain.trainer import Trainer
from pretrain.video.batches import ClipBatches, clip_views
from pretrain.video.network import VideoNetwork
from tests.helpers.moving_clips import moving_clip, write_clips


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def loader_rate(clips: list[bytes], name: str) -> float:
    """Clips of 150 frames that a core decodes and augments in a second."""
    config = recipe(name)
    start = _cpu_s()
    for number, clip in enumerate(clips):
        clip_views(clip, config, rng=np.random.default_rng(number), colour_rng=np.random.default_rng([number, 1]))
    return len(clips) / (_cpu_s() - start)


def _sized(*, whole: bool) -> PretrainConfig:
    config = recipe("endofm-clean")
    width, heads = (768, 12) if whole else (192, 3)
    return replace(
        config,
        model=replace(config.model, embed_dim=width, depth=2, num_heads=heads),
        dino_head=HeadConfig(num_prototypes=4096, norm_last_layer=True),
        train=replace(config.train, batch_size=2, precision="fp32", num_loader_workers=0),
        video=replace(config.video, min_frames=16) if config.video else None,
    )


def step_shares(folder: Path, *, whole: bool, times: int = 3) -> dict[str, float]:
    """Seconds of a whole step, of its bare forward and backward, and of views one by one."""
    config = _sized(whole=whole)
    torch.set_num_threads(1)
    worker = current_worker(config.train, use_gpu=False)
    batch = ClipBatches(ShardReader(folder), config, rank=0, world_size=1)[0]
    state = build_state(config, worker)
    trainer = Trainer(state, config, worker)
    student, teacher = state.student_network, state.teacher_network
    assert isinstance(student, VideoNetwork)
    assert isinstance(teacher, VideoNetwork)
    assert trainer._clips is not None
    inputs = trainer._clips.inputs(batch)
    views = [view for group in inputs.groups for view in torch.split(group, config.train.batch_size)]

    def bare() -> None:
        with torch.no_grad():
            teacher.backbone(inputs.groups[0])
            teacher.backbone(inputs.groups[1])
        total = sum(student.backbone(group).cls.sum() for group in inputs.groups)
        assert isinstance(total, torch.Tensor)
        torch.autograd.backward(total)

    def forward(groups: list[torch.Tensor]) -> None:
        with torch.no_grad():
            student(groups)

    works: dict[str, Callable[[], object]] = {
        "step": lambda: trainer.step(0, batch),
        "bare": bare,
        "grouped": lambda: forward(inputs.groups),
        "single": lambda: forward(views),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(times + 1):  # in turn, so that a busy minute meets all alike
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - start)
    best = {name: min(found) for name, found in seconds.items()}
    return {
        "step_s": best["step"],
        "bare_s": best["bare"],
        "bare_over_step": best["bare"] / best["step"],
        "single_over_grouped": best["single"] / best["grouped"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--whole", action="store_true")
    told = parser.parse_args()
    clips = [moving_clip(number, num_frames=150, width=340, height=256) for number in range(told.clips)]
    rates = {f"clips_per_s_a_core_{name}": loader_rate(clips, name) for name in ("endofm", "endofm-clean")}
    with tempfile.TemporaryDirectory() as folder:
        shares = step_shares(write_clips(Path(folder) / "clips", clips[:4]), whole=told.whole)
    print(json.dumps({name: round(value, 4) for name, value in {**rates, **shares}.items()}))


if __name__ == "__main__":
    main()

"""A whole training step of ViT-S/14 beside its limit: teacher forward, student forward and backward alone, of the same crops.

    python tests/benchmarks/bench_pretrain.py [--batch 4] [--rounds 3] [--prototypes 65536] [--accumulate 2]

Crops are 2 of 224 and 8 of 98 pixels. Bare passes run the same networks on the same rows, heads included, and go backward from random
gradients of the outputs: no crops are normalised, nothing is balanced, compared, clipped, optimised or averaged. Both take turns. Seconds
are of the process's CPU, beside those of the clock; another program on the machine costs the second. The ratio is bare over whole.

With --accumulate a third takes its turn: the same step from that many micro-batches, which makes logits in chunks. Its ratio is over whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.data import Batch
from pretrain.drop_path import KeptRows, draw_kept_rows
from pretrain.masking import batch_masks, mask_weights
from pretrain.model import num_blocks
from pretrain.parallel import current_worker
from pretrain.recipes import recipe
from pretrain.state import build_state
from pretrain.trainer import Trainer


def made_batch(config: PretrainConfig) -> Batch:
    """Random pixels with the recipe's own masks and dropped branches."""
    images, model, local = config.train.batch_size, config.model, config.augment
    generator = torch.Generator().manual_seed(0)

    def pixels(views: int, side: int) -> Tensor:
        return torch.randint(0, 256, (views, images, side, side, 3), generator=generator, dtype=torch.uint8)

    def kept(views: int) -> KeptRows | None:
        if not model.drop_path_rate:
            return None
        rng, depth, rate = np.random.default_rng(views), num_blocks(model), model.drop_path_rate
        return draw_kept_rows(slice(0, images), batch_size=images, num_views=views, depth=depth, rate=rate, rng=rng)

    masks = batch_masks(2 * images, model.img_size // model.patch_size, config.mask, rng=random.Random(0))
    return Batch(
        global_crops=pixels(2, model.img_size),
        local_crops=pixels(local.num_local, local.local_size),
        masks=torch.from_numpy(masks),
        hidden=torch.from_numpy(np.flatnonzero(masks)),
        mask_weights=torch.from_numpy(mask_weights(masks)),
        kept_global=kept(2),
        kept_local=kept(local.num_local),
        unreadable_shards=torch.empty(0, dtype=torch.int64),
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu_s, time.perf_counter() - wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prototypes", type=int, default=65536)
    parser.add_argument("--recipe", default="vits14")
    parser.add_argument("--accumulate", type=int, default=1)
    asked = parser.parse_args()
    if asked.batch < 2 * asked.accumulate or asked.batch % asked.accumulate:
        parser.error(
            f"--batch is {asked.batch}; give a multiple of --accumulate with two or more images for each of its {asked.accumulate}"
        )
    base = recipe(asked.recipe)
    head = HeadConfig(num_prototypes=asked.prototypes)
    config = replace(
        base,
        dino_head=replace(base.dino_head, num_prototypes=asked.prototypes),
        ibot_head=base.ibot_head and head,
        loss=replace(base.loss, koleo_group=asked.batch // asked.accumulate),
        train=replace(base.train, batch_size=asked.batch, precision="fp32", compile="off"),
    )
    worker = current_worker(config.train, use_gpu=False)
    trainer = Trainer(build_state(config, worker), config, worker)
    accumulated = None
    if asked.accumulate > 1:
        in_parts = replace(config, train=replace(config.train, accumulate=asked.accumulate))
        accumulated = Trainer(build_state(in_parts, worker), in_parts, worker)
    batch = made_batch(config)
    inputs = trainer.inputs(batch)

    def bare() -> None:
        trainer.teacher_outputs(inputs)
        made = [tensor for tensor in trainer.student_outputs(inputs)[1:] if tensor is not None]  # its features are in the class logits
        torch.autograd.backward(made, upstream)
        trainer.state.optimizer.zero_grad()

    with torch.no_grad():
        shapes = [tensor.shape for tensor in trainer.student_outputs(inputs)[1:] if tensor is not None]
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(shape, generator=generator) / shape.numel() for shape in shapes]

    step, rows = 0, []
    for number in range(asked.rounds + 1):
        bare_s = timed(bare)
        whole_s = timed(partial(trainer.step, step, batch))
        parts_s = timed(partial(accumulated.step, step, batch)) if accumulated else (0.0, 0.0)
        step += 1
        if number:  # the first of each allocates
            rows.append((*bare_s, *whole_s, *parts_s))
    bare_cpu, bare_wall, whole_cpu, whole_wall, parts_cpu, parts_wall = (median(column) for column in zip(*rows, strict=True))
    parts = {"accumulate": asked.accumulate, "parts_cpu_s": round(parts_cpu, 2), "parts_wall_s": round(parts_wall, 2)}
    parts["parts_over_whole_cpu"] = round(parts_cpu / whole_cpu, 3)
    print(
        json.dumps(
            {
                "recipe": asked.recipe,
                "batch": asked.batch,
                "prototypes": asked.prototypes,
                "threads": torch.get_num_threads(),
                "load": [round(value, 1) for value in os.getloadavg()],
                "bare_cpu_s": round(bare_cpu, 2),
                "whole_cpu_s": round(whole_cpu, 2),
                "bare_wall_s": round(bare_wall, 2),
                "whole_wall_s": round(whole_wall, 2),
                "ratio_cpu": round(bare_cpu / whole_cpu, 3),
                "ratios_cpu": [round(row[0] / row[2], 3) for row in rows],
                "ratio_wall": round(bare_wall / whole_wall, 3),
            }
            | (parts if accumulated else {})
        )
    )


if __name__ == "__main__":
    main()

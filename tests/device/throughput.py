"""Images a second, share of the peak and memory of a recipe's whole step on batches that are already on the device."""

from __future__ import annotations

import gc
import re
import time
from dataclasses import replace
from typing import Any

import torch

from pretrain.config import PretrainConfig
from pretrain.data import Batch
from pretrain.flops import step_flops
from pretrain.trainer import Trainer
from tests.device.inventory import NOMINAL_BF16_TFLOPS
from tests.device.place import Place, build_quickly, compile_all, full, image_networks, is_compiled, made_batch, moved, synchronize

_WARM, _MOST, _CELL_S = 3, 20, 2.0
_BATCHES = {"vits14": (128, 256, 512), "vitb14": (64, 128, 256), "vitl14": (64, 32, 128)}
"""the first is also timed uncompiled; the first two are compiled ahead"""


def vits14(place: Place) -> None:
    """Rising batches, compiled; the first also as it is without."""
    _ladder(place, "vits14")


def vitb14(place: Place) -> None:
    """Rising batches, compiled; the first also as it is without."""
    _ladder(place, "vitb14")


def vitl14(place: Place) -> None:
    """Rising batches, compiled; the first also as it is without."""
    _ladder(place, "vitl14")


def ahead_s(place: Place) -> None:
    """Compile what vits14 needs."""
    _ahead(place, "vits14")


def ahead_b(place: Place) -> None:
    """Compile what vitb14 needs."""
    _ahead(place, "vitb14")


def ahead_l(place: Place) -> None:
    """Compile what vitl14 needs."""
    _ahead(place, "vitl14")


def _ahead(place: Place, name: str) -> None:
    """One step of one block at each size that is timed later, so that its kernels are in the cache: depth is in no graph."""
    first, second = (4, 2) if place.dry else _BATCHES[name][:2]
    for label, batch_size, half in (("", first, False), ("", second, False), ("_bf16_residual", first, True)):
        if place.left_s < (0.5 if place.dry else 15):
            place.note(out_of_time=True)
            return
        config = full(place, name, batch_size=batch_size)
        config = replace(
            config,
            model=replace(config.model, depth=1, activation_checkpointing=False),
            train=replace(config.train, residual="bf16" if half else "fp32"),
        )
        trainer = build_quickly(config, place)
        compile_all(trainer, place)
        start = time.perf_counter()
        trainer.step(0, moved(made_batch(config), place.device))
        synchronize(place.device)
        place.note(
            **{
                f"compile_s_{batch_size}{label}": round(time.perf_counter() - start, 1),
                f"compiled_{batch_size}{label}": is_compiled(trainer),
            }
        )
        del trainer
        _clear(place)
    place.note(graphs=torch._dynamo.utils.counters["stats"].get("unique_graphs"))


def _ladder(place: Place, name: str) -> None:
    batches = (4, 2) if place.dry else _BATCHES[name]
    start = time.perf_counter()
    config = full(place, name, batch_size=batches[0])
    trainer = build_quickly(config, place)
    given = config.model.activation_checkpointing
    place.note(build_s=round(time.perf_counter() - start, 1), prototypes=config.dino_head.num_prototypes, recipe_checkpointing=given)
    rows: dict[str, Any] = {}
    networks = trainer.state.student_network, trainer.state.teacher_network

    def measure(label: str, batch_size: int, *, checkpointing: bool = False, least_s: float = 3 * _CELL_S, half: bool = False) -> bool:
        if place.left_s < (0.5 if place.dry else least_s):
            place.note(out_of_time=True)
            return False
        sized = replace(config, train=replace(config.train, batch_size=batch_size))
        trainer.state.student_network.activation_checkpointing = checkpointing
        trainer.config = sized
        for network in networks:
            network.residual_dtype = torch.bfloat16 if half else None
        batch = moved(made_batch(sized), place.device)
        try:
            rows[label] = _cell(place, trainer, sized, batch)
        except RuntimeError as error:
            if not re.search("out of memory|alloc", str(error), re.IGNORECASE):
                raise
            rows[label] = {"out_of_memory": str(error).split(". ")[0]}
        del batch
        trainer.state.optimizer.zero_grad()
        _clear(place)
        place.note(rows=rows)
        return "out_of_memory" not in rows[label]

    measure(f"{batches[0]} uncompiled", batches[0])
    compile_all(trainer, place)
    for batch_size in batches[:2]:
        measure(f"{batch_size}", batch_size)
    measure(f"{batches[0]} bf16 residual", batches[0], half=True)
    measure(f"{batches[0]} checkpointing", batches[0], checkpointing=True)
    for batch_size in batches[2:]:
        if not measure(f"{batch_size}", batch_size, least_s=30):  # it is compiled only now
            measure(f"{batch_size} checkpointing", batch_size, checkpointing=True)
    best = max((row["images_per_s"] for row in rows.values() if "images_per_s" in row), default=0.0)
    largest = max((row["batch_size"] for label, row in rows.items() if label.isdigit() and "batch_size" in row), default=0)
    place.note(best_images_per_s=best, largest_batch_without_checkpointing=largest)


def _cell(place: Place, trainer: Trainer, config: PretrainConfig, batch: Batch) -> dict[str, Any]:
    """Time some steps after a few that do not count."""
    device = place.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    warm, most = (1, 2) if place.dry else (_WARM, _MOST)
    start = time.perf_counter()
    for step in range(warm):
        trainer.step(step, batch)
    synchronize(device)
    warm_s, start = time.perf_counter() - start, time.perf_counter()
    steps = 0
    while steps < most and (steps < 2 or time.perf_counter() - start < _CELL_S):
        values = trainer.step(warm + steps, batch)
        steps += 1
    synchronize(device)
    step_s = (time.perf_counter() - start) / steps
    flops = step_flops(config, image_networks(trainer)[0], hidden_patches=int(batch.masks.sum()))
    peak = place.found("inventory").get("bf16_tflops")
    images = config.train.batch_size
    return {
        "batch_size": images,
        "images_per_s": round(images / step_s, 1),
        "ms_per_step": round(step_s * 1e3, 2),
        "steps": steps,
        "warm_s": round(warm_s, 1),
        "compiled": is_compiled(trainer),
        "tflop_per_image": round(flops / images / 1e12, 4),
        "mfu_nominal": round(flops / step_s / 1e12 / NOMINAL_BF16_TFLOPS, 4),
        "mfu_measured": round(flops / step_s / 1e12 / peak, 4) if peak else None,
        "peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None,
        "reserved_gb": round(torch.cuda.max_memory_reserved(device) / 1e9, 2) if device.type == "cuda" else None,
        "loss": float(values["loss/total"]),
        "skipped": float(values["train/skipped_steps_in_a_row"]),
    }


def _clear(place: Place) -> None:
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()

"""Images a second, share of the peak and memory of a recipe's whole step on batches that are already on the device."""

from __future__ import annotations

import contextlib
import gc
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from pretrain.config import PretrainConfig
from pretrain.data import Batch
from pretrain.trainer import Trainer
from tests.device.flops import step_flops
from tests.device.inventory import NOMINAL_BF16_TFLOPS
from tests.device.place import Place, build_quickly, full, made_batch, moved, synchronize
from tests.device.same import compile_blocks

_WARM, _MOST, _CELL_S = 3, 20, 3.0
_BATCHES = {"vits14": (64, 128, 256, 512), "vitb14": (64, 128, 256), "vitl14": (32, 64, 128)}
_COMPARED_AT = {"vits14": 128, "vitb14": 64, "vitl14": 32}


def vits14(place: Place) -> None:
    """Rising batches, then each variant."""
    _ladder(place, "vits14")


def vitb14(place: Place) -> None:
    """Rising batches, then each variant."""
    _ladder(place, "vitb14")


def vitl14(place: Place) -> None:
    """Rising batches, then each variant."""
    _ladder(place, "vitl14")


def compiled(place: Place) -> None:
    """vitb14 and vits14 with every block compiled, from outside, with and without drop path."""
    backend = "eager" if place.dry else "inductor"
    for name in ("vits14",) if place.dry else ("vitb14", "vits14"):
        for rate in (None, 0.0):
            if place.left_s < (1 if place.dry else 25):
                place.note(out_of_time=True)
                return
            config = full(place, name, batch_size=4 if place.dry else _COMPARED_AT[name])
            if rate is not None:
                config = replace(config, model=replace(config.model, drop_path_rate=rate))
            trainer, batch = build_quickly(config, place), moved(made_batch(config), place.device)
            before = _cell(place, trainer, config, batch)
            compile_blocks(trainer, backend)
            start = time.perf_counter()
            for step in range(_WARM):
                trainer.step(step, batch)
            synchronize(place.device)
            first_s = time.perf_counter() - start
            after = _cell(place, trainer, config, batch)
            place.note(
                **{
                    f"{name}_{'drop_path' if rate is None else 'no_drop_path'}": {
                        "eager": before, "compiled": after, "ratio": round(after["images_per_s"] / before["images_per_s"], 3),
                        "compile_s": round(first_s, 1), "graphs": torch._dynamo.utils.counters["stats"].get("unique_graphs"),
                    }
                }
            )  # fmt: skip
            del trainer, batch
            torch._dynamo.reset()
            _clear(place)


def _ladder(place: Place, name: str) -> None:
    compared_at = 4 if place.dry else _COMPARED_AT[name]
    start = time.perf_counter()
    config = full(place, name, batch_size=compared_at)
    trainer = build_quickly(config, place)
    given = config.model.activation_checkpointing
    place.note(build_s=round(time.perf_counter() - start, 1), prototypes=config.dino_head.num_prototypes, recipe_checkpointing=given)
    rows: dict[str, Any] = {}

    def measure(label: str, batch_size: int, *, checkpointing: bool) -> bool:
        if place.left_s < (0.5 if place.dry else 3 * _CELL_S):
            place.note(out_of_time=True)
            return False
        sized = replace(config, train=replace(config.train, batch_size=batch_size))
        trainer.state.student_network.activation_checkpointing = checkpointing
        batch = moved(made_batch(sized), place.device)
        try:
            rows[label] = _cell(place, Trainer(trainer.state, sized, trainer.worker), sized, batch)
        except RuntimeError as error:
            if not re.search("out of memory|alloc", str(error), re.IGNORECASE):
                raise
            rows[label] = {"out_of_memory": str(error).split(". ")[0]}
        del batch
        trainer.state.optimizer.zero_grad()
        _clear(place)
        place.note(rows=rows)
        return "out_of_memory" not in rows[label]

    measure(f"{compared_at}", compared_at, checkpointing=False)
    with _fused(trainer):
        measure(f"{compared_at} fused AdamW", compared_at, checkpointing=False)
    measure(f"{compared_at} checkpointing", compared_at, checkpointing=True)
    fits = True
    for batch_size in (2,) if place.dry else _BATCHES[name]:
        if batch_size == compared_at:
            continue
        if fits:
            fits = measure(f"{batch_size}", batch_size, checkpointing=False)
        if not fits and not measure(f"{batch_size} checkpointing", batch_size, checkpointing=True):
            break
    best = max((row["images_per_s"] for row in rows.values() if "images_per_s" in row), default=0.0)
    largest = max((row["batch_size"] for label, row in rows.items() if label.isdigit() and "batch_size" in row), default=0)
    place.note(best_images_per_s=best, largest_batch_without_checkpointing=largest)


def _cell(place: Place, trainer: Trainer, config: PretrainConfig, batch: Batch) -> dict[str, Any]:
    """Time some steps after a few that do not count."""
    device = place.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    warm, most = (1, 2) if place.dry else (_WARM, _MOST)
    for step in range(warm):
        trainer.step(step, batch)
    synchronize(device)
    start = time.perf_counter()
    steps = 0
    while steps < most and (steps < 2 or time.perf_counter() - start < _CELL_S):
        values = trainer.step(warm + steps, batch)
        steps += 1
    synchronize(device)
    step_s = (time.perf_counter() - start) / steps
    flops = step_flops(config, trainer.state.student_network, hidden_patches=int(batch.masks.sum()))
    peak = place.found("inventory").get("bf16_tflops")
    images = config.train.batch_size
    return {
        "batch_size": images,
        "images_per_s": round(images / step_s, 1),
        "ms_per_step": round(step_s * 1e3, 2),
        "steps": steps,
        "tflop_per_image": round(flops / images / 1e12, 4),
        "mfu_nominal": round(flops / step_s / 1e12 / NOMINAL_BF16_TFLOPS, 4),
        "mfu_measured": round(flops / step_s / 1e12 / peak, 4) if peak else None,
        "peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None,
        "reserved_gb": round(torch.cuda.max_memory_reserved(device) / 1e9, 2) if device.type == "cuda" else None,
        "loss": float(values["loss/total"]),
        "skipped": float(values["train/skipped_steps_in_a_row"]),
    }


@contextlib.contextmanager
def _fused(trainer: Trainer) -> Iterator[None]:
    """AdamW's one-kernel form, whose step counts are on the device."""
    optimizer = trainer.state.optimizer

    def set_to(*, fused: bool, device: torch.device) -> None:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = fused or None, None if fused else True
        for state in optimizer.state.values():
            state["step"] = state["step"].to(device)

    set_to(fused=True, device=trainer.worker.device)
    try:
        yield
    finally:
        set_to(fused=False, device=torch.device("cpu"))


def _clear(place: Place) -> None:
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()

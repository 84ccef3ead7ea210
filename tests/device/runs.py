"""Runs of the real training loop on phantom shards: how fast it is with its data, and whether it learns."""

from __future__ import annotations

import math
import multiprocessing
import statistics
import subprocess
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.backbone import ModelRef, load_backbone
from evaluation.features import extract_features
from evaluation.heads import choose_k, knn_predict
from evaluation.labels import class_indices
from evaluation.tasks import resolve_task
from pretrain.config import PretrainConfig
from pretrain.metrics import read_metrics
from pretrain.recipes import recipe, smoke
from pretrain.trainer import train
from tests.device.frames import fitted
from tests.device.place import Place, cores, full, small

_CLOSING_S = 8.0  # without a checkpoint, whose time is added


class _Stop(Exception):
    pass


def end_to_end(place: Place) -> None:
    """vitb14 from shards to checkpoint: images a second after the first rows, data wait, time of a checkpoint, the card's load."""
    largest = int(place.found("vitb14").get("largest_batch_without_checkpointing") or 32)
    batch_size = 4 if place.dry else min(128, largest)
    config = full(place, "vitb14", batch_size=batch_size)
    every = 2 if place.dry else 80
    config = replace(
        config,
        train=replace(config.train, num_steps=125_000, log_every=2 if place.dry else 10, compile="off" if place.dry else "auto"),
        checkpoint=replace(config.checkpoint, every=every, keep_every=0, validate_start=False),
        optim=replace(config.optim, warmup_steps=1000),
    )
    workers = int(place.found("loader_alone").get("best_workers") or max(1, cores() - 2))
    config = fitted(config, place, num_workers=2 if place.dry else workers)
    rows: list[dict[str, float]] = []
    sampled = _Sampled(place)
    last_row_s = 0.0
    checkpoint_s = 12.0  # until one has been timed

    def progress(done: int, num_steps: int, row: dict[str, float]) -> None:
        nonlocal last_row_s
        last_row_s = time.monotonic()
        rows.append({"step": done, **row})
        steady = rows[2:] or rows
        place.note(
            batch_size=batch_size,
            loader_workers=config.train.num_loader_workers,
            steps=done,
            images_per_s=round(statistics.median(each["speed/images_per_s"] for each in steady), 1),
            images_per_s_each=[round(each["speed/images_per_s"], 1) for each in rows][-40:],
            data_wait_share=round(statistics.mean(each["speed/data_wait_share"] for each in steady), 4),
            loss=row["loss/total"],
        )
        sampled.note()
        due = every - done % every <= config.train.log_every
        if place.left_s < _CLOSING_S + (checkpoint_s if due else 0.0) and not place.dry:
            raise _Stop

    def at_checkpoint(done: int) -> None:
        nonlocal checkpoint_s
        checkpoint_s = time.monotonic() - last_row_s
        folder = place.work / f"{place.name}-run" / "checkpoints"
        size = sum(file.stat().st_size for file in folder.glob("step_*/**/*") if file.is_file())
        place.note(checkpoint_s=round(checkpoint_s, 2), checkpoints_gb=round(size / 1e9, 2))
        if place.dry:
            raise _Stop

    with sampled:
        _train(config, place, progress=progress, at_checkpoint=at_checkpoint)
    _require(bool(rows), "no step was logged")


def learning(place: Place) -> None:
    """ViT-S/14 on phantom frames for the time that is left: k-NN macro-F1 by step, random weights first, and loss beside ln K."""
    rate = float(place.found("loader_alone").get("best_images_per_s") or 600.0)
    seconds = place.left_s - 25
    config = _learning_config(place)
    step_ms = place.found("vits14").get("rows", {}).get("128", {}).get("ms_per_step", 150.0)
    steps_per_s = min(2.5 * rate / config.train.batch_size, 1000 / (0.6 * step_ms))  # smaller crops than both were measured with
    num_steps = 4 if place.dry else int(max(60, 0.9 * steps_per_s * seconds))
    warmup = max(1, num_steps // 10)
    config = replace(
        config,
        train=replace(config.train, num_steps=num_steps, log_every=1 if place.dry else 10),
        optim=replace(config.optim, warmup_steps=warmup, freeze_last_layer_steps=max(1, warmup // 2)),
        loss=replace(config.loss, teacher_temperature_warmup_steps=max(1, num_steps // 3)),
        checkpoint=replace(config.checkpoint, every=max(1, num_steps // (2 if place.dry else 8)), keep_best=1, validate_start=True),
    )
    config = fitted(config, place, num_workers=2 if place.dry else cores() - 2)
    run_dir = place.work / f"{place.name}-run"
    place.note(num_steps=num_steps, batch_size=config.train.batch_size, ln_k=round(math.log(config.dino_head.num_prototypes), 3))

    def say(*_: object) -> None:
        rows = read_metrics(run_dir / "metrics.jsonl")
        scores = {step: round(value, 4) for step, name, value in rows if name.startswith("validation/")}
        pairs = 2 + 2 * config.augment.num_local  # global and local terms are sums over their pairs, divided by all pairs
        curve: dict[int, dict[str, float]] = {}
        for step, name, value in rows:
            if name in ("loss/dino_global", "loss/dino_local", "loss/ibot", "loss/koleo", "teacher/entropy", "speed/images_per_s"):
                curve.setdefault(step, {})[name] = round(value, 4)
        for values in curve.values():
            if "loss/dino_global" in values and "loss/dino_local" in values:
                values["cross_entropy_per_pair"] = round(values["loss/dino_global"] + values["loss/dino_local"], 4)
        kept = sorted(curve)[:: max(1, len(curve) // 20)] + sorted(curve)[-1:]
        place.note(knn_macro_f1_by_step=scores, curve={step: curve[step] for step in kept}, pairs=pairs)
        if place.left_s < _CLOSING_S:
            raise _Stop

    _train(config, place, progress=say, validate=partial(_macro_f1, data=str(place.work / "labelled")), at_checkpoint=say)
    say_scores = place.found(place.name).get("knn_macro_f1_by_step", {})
    _require("0" in say_scores, "random weights were not scored")
    place.note(random=say_scores["0"], best=max(say_scores.values()))


def _learning_config(place: Place) -> PretrainConfig:
    """The settings of `smoke` around a ViT-S/14: few prototypes and a sharp teacher, without which minutes teach nothing."""
    if place.dry:
        tiny = small(place, precision="auto")
        return replace(tiny, checkpoint=replace(tiny.checkpoint, validate_start=True))
    base, model = smoke(), recipe("vits14").model
    head = replace(base.dino_head, num_prototypes=1024, hidden_dim=1024, bottleneck_dim=128)
    return replace(
        base,
        model=replace(model, img_size=112, drop_path_rate=0.0, layer_scale_init=0.1),
        dino_head=head,
        ibot_head=head,
        augment=replace(base.augment, local_size=56, num_local=6),
        optim=replace(base.optim, base_lr=2e-3, teacher_momentum=0.99),
        train=replace(base.train, batch_size=128, compile="off"),
    )


def _macro_f1(exported: str, *, data: str) -> tuple[str, float]:
    """k-NN macro-F1 of the phantom's landmarks, validation patients against training patients."""
    task = resolve_task("landmarks", Path(data))
    items = [item for item in task.items if item.split != "test"]
    backbone = load_backbone(ModelRef(model_id="", label="", path=exported))
    features = torch.from_numpy(extract_features(backbone, items, batch_size=None, num_workers=min(12, cores()))["last"])
    labels = class_indices(items, task.classes)
    is_train = np.array([item.split == "train" for item in items])
    count = len(task.classes)
    predicted = knn_predict(features[is_train], torch.from_numpy(labels[is_train]), features[~is_train], k=(10,), num_classes=count)
    return "landmarks/val/knn_macro_f1", choose_k(predicted, labels[~is_train], k=(10,), num_classes=count, metric="macro_f1")[1]


def _train(config: PretrainConfig, place: Place, *, progress: Any, at_checkpoint: Any, validate: Any = None) -> None:
    run_dir = place.work / f"{place.name}-run"
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        train(
            config,
            dataset_dir=place.work / "frames",
            run_dir=run_dir,
            run_id="device",
            validate=validate,
            use_gpu=not place.dry,
            progress=progress,
            at_checkpoint=at_checkpoint,
        )
    except _Stop:
        for child in multiprocessing.active_children():  # loader workers would finish the batches that nobody wants
            child.kill()


class _Sampled:
    """Samples the card's load and power meanwhile, by many short calls: one that is killed loses what it has not flushed."""

    def __init__(self, place: Place) -> None:
        self.place, self.ended, self.rows, self.error = place, threading.Event(), list[list[float]](), ""
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Sampled:
        if not self.place.dry:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.note()

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu,power.draw,clocks.sm,memory.used", "--format=csv,noheader,nounits"]
        while not self.ended.wait(1.0):
            try:
                line = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()[0]
                self.rows.append([float(value) for value in line.split(",")])
            except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
                self.error = f"{type(error).__name__}: {error}"[:300]

    def note(self) -> None:
        """Note the means so far."""
        steady = self.rows[10:]  # the start is not the run
        if steady:
            names = ("utilisation_percent", "power_w", "sm_clock_mhz", "memory_mib")
            means = {name: round(statistics.mean(column), 1) for name, column in zip(names, zip(*steady, strict=True), strict=True)}
            self.place.note(card_load=means | {"samples": len(steady)})
        elif self.error:
            self.place.note(card_load=self.error)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)

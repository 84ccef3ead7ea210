"""Which checkpoint is chosen: by score, never by loss, and not the untrained weights once training has helped."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from evaluation.validate import checkpoint_scores
from pretrain.checkpoint import best_checkpoint, export_teacher, step_dir, whole_checkpoints
from pretrain.config import CheckpointConfig, PretrainConfig
from pretrain.metrics import MetricsLog, read_metrics
from pretrain.model import build_network
from pretrain.run_folder import validate_checkpoint, validate_start
from pretrain.views import FixedViews


def test_a_lower_loss_never_decides_which_checkpoints_stay(tmp_path: Path) -> None:
    scores = {1: 0.9, 2: 0.2, 3: 0.5, 4: 0.3, 5: 0.1}
    losses = {1: 9.0, 2: 1.0, 3: 8.0, 4: 0.5, 5: 0.1}  # the worst scores have the lowest losses
    metrics = MetricsLog(tmp_path, after_step=0)
    for step, score in scores.items():
        backbone = step_dir(tmp_path, step) / "backbone"
        backbone.mkdir(parents=True)
        (backbone / "model.safetensors").write_bytes(bytes([step]))
        metrics.write(step, {"loss/total": losses[step]})
        config = CheckpointConfig(every=1, keep_best=2, keep_every=4)
        validate_checkpoint(tmp_path, step, lambda folder, score=score: ("score", score), metrics, config)  # type: ignore[misc]
    metrics.close()
    kept = whole_checkpoints(tmp_path)
    assert [saved.step for saved in kept] == [1, 3, 4, 5]  # best two, every fourth, newest
    assert best_checkpoint(kept).step == 1


def test_the_choice_does_not_prefer_untrained_weights_when_training_improved_matching(
    micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    """A backbone that learns to tell images apart, and is validated before its first step and then twice."""
    config = dataclasses.replace(micro, model=dataclasses.replace(micro.model, drop_path_rate=0.0, layer_scale_init=0.1))
    views = FixedViews(dataset_dir=dataset_dir, augment=config.augment, image_size=config.model.img_size)
    validate = partial(checkpoint_scores, views=views)
    torch.manual_seed(0)
    network = build_network(config, student=False).requires_grad_(True)
    metrics = MetricsLog(tmp_path, after_step=0)
    validate_start(tmp_path, network, config, validate, metrics)
    mean, std = (torch.tensor(value).view(3, 1, 1) * 255 for value in (config.augment.mean, config.augment.std))
    pixels = torch.from_numpy(np.concatenate(list(views()), axis=1)).flatten(0, 1).permute(0, 3, 1, 2)
    images = (pixels - mean) / std
    own = torch.arange(14)
    optimizer = torch.optim.AdamW(network.backbone.parameters(), lr=2e-3)
    for step in range(1, 101):
        first, second = F.normalize(network.backbone(images), dim=1).chunk(2)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(first @ second.T / 0.1, own))
        optimizer.step()
        if step % 50 == 0:
            weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            export_teacher(step_dir(tmp_path, step), weights, config, card={"step": step})
            validate_checkpoint(tmp_path, step, validate, metrics, config.checkpoint)
    metrics.close()
    rows = {(step, name): value for step, name, value in read_metrics(tmp_path / "metrics.jsonl")}
    matching = [rows[step, "validation/views/matching"] for step in (0, 50, 100)]
    assert rows[0, "validation/views/matching_chance"] == pytest.approx(1 / 14)
    assert {step for step, name in rows if name == "validation/views/effective_rank"} == {0, 50, 100}
    best = best_checkpoint(whole_checkpoints(tmp_path))
    assert (best.validation_metric, best.validation_score) == ("views/matching", max(matching[1:]))
    assert best.validation_score > matching[0] + 0.3

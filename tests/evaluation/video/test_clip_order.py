from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.heads import TUNED_CLASS_HEADS, HeadSettings, Labelled, Pictures
from evaluation.video.clip_backbone import OrderableClipBackbone, clip_tensor
from evaluation.video.clip_features import load_clip_backbone
from evaluation.video.clip_order import ordered_start, seen_by, tells_order
from evaluation.video.clip_tuning import adapted_clip_backbone, clip_trunk
from flows.stages.video_network import video_model
from tests.helpers.video_backbone import tiny_video_backbone

LABELS = np.tile(np.array([0, 1], np.int64), 8)


def ramps(seed: int) -> npt.NDArray[np.uint8]:
    """Sixteen clips [16, 4, 28, 28, 3]: eight that grow brighter, each followed by the same frames backward."""
    noise = np.random.default_rng(seed).normal(0, 4, (8, 4, 28, 28, 3))
    brighter = np.clip(np.linspace(40, 200, 4)[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return np.stack([brighter, brighter[:, ::-1]], 1).reshape(16, 4, 28, 28, 3)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> OrderableClipBackbone:
    """A video network as initialised: time embedding and temporal projections are zero."""
    folder = tiny_video_backbone(tmp_path_factory.mktemp("video"))
    network = load_clip_backbone(video_model(folder, model_id="v", label="v"), EvaluateConfig(device="cpu"))
    assert isinstance(network, OrderableClipBackbone)
    return network


def training_accuracy(fresh: OrderableClipBackbone, order: Literal["auto", "own"]) -> float:
    """Of a fine-tuned network on clips whose only difference is their order."""
    settings = {"tune_epochs": 15, "finetune_learning_rates": (5e-4,), "tune_batch_size": 4, "device": "cpu"}
    config = EvaluateConfig(clip_order=order, **settings)  # type: ignore[arg-type]
    train, val = ramps(0), ramps(1)
    start = ordered_start(fresh, train, config) or fresh
    no_features = {"last": np.zeros((16, fresh.dim), np.float32)}
    parts = [
        seen_by(start, Pictures(Labelled("train", no_features, LABELS), train), config),
        seen_by(start, Pictures(Labelled("val", no_features, LABELS), val), config),
    ]
    trunk = clip_trunk(start, config)
    told = HeadSettings(config=config, num_classes=2, metric="accuracy", device=torch.device("cpu"), trunk=trunk)
    head = TUNED_CLASS_HEADS["finetune"].fit(parts[0], parts[1], told)
    seen = seen_by(adapted_clip_backbone(fresh, head), parts[0], config).frozen
    return float((head.probabilities(seen.features).argmax(1) == LABELS).mean())


def test_fine_tuning_learns_the_order_of_frames(fresh: OrderableClipBackbone) -> None:
    assert training_accuracy(fresh, "auto") > 0.9


def test_a_time_embedding_of_zeros_learns_no_order(fresh: OrderableClipBackbone) -> None:
    assert training_accuracy(fresh, "own") == 0.5


def test_an_order_is_told_only_to_networks_that_know_none(fresh: OrderableClipBackbone) -> None:
    pixels = ramps(0)
    clips = clip_tensor(pixels, mean=fresh.mean, std=fresh.std)
    assert not tells_order(fresh, clips, pooling="mean")
    assert tells_order(fresh, clips, pooling="ordered")
    ordered = fresh.with_order(clips)
    assert tells_order(ordered, clips, pooling="mean")
    assert fresh.module.time_embed.count_nonzero() == 0
    assert ordered_start(ordered, pixels, EvaluateConfig(device="cpu")) is None
    assert ordered_start(ordered, pixels, EvaluateConfig(device="cpu", clip_order="added")) is not None
    assert ordered_start(fresh, pixels, EvaluateConfig(device="cpu", clip_order="own")) is None
    assert ordered_start(fresh, pixels, EvaluateConfig(device="cpu", protocol="published")) is None
    assert ordered_start(fresh, pixels[:, :1], EvaluateConfig(device="cpu")) is None


def test_an_image_network_is_told_no_order(vit_folder: str) -> None:
    network = load_clip_backbone(ModelRef(model_id="m", label="m", path=str(Path(vit_folder))), EvaluateConfig(device="cpu"))
    assert ordered_start(network, ramps(0), EvaluateConfig(device="cpu")) is None


@pytest.mark.parametrize(("heads", "has_clips", "told"), [(("finetune",), True, True), (("finetune",), False, False), (None, True, False)])
def test_the_order_is_of_an_evaluations_identity_only_where_fine_tuning_sees_clips(
    heads: tuple[str, ...] | None, has_clips: bool, told: bool
) -> None:
    assert ("clip_order" in EvaluateConfig(heads=heads).identity(has_clips=has_clips)) is told

"""Heads that change the backbone: trained on pictures, stored, replayed and used to predict."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from evaluation.backbone import BackboneError, ModelRef, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.heads import BackboneChange, HeadError, TunedClasses, changed, chosen_heads, read_settings
from evaluation.heads.low_rank import adapted_layers, adapters, add_adapters
from evaluation.heads.names import check_peft
from evaluation.maps import resized_backbone
from evaluation.predict import predict_frames
from evaluation.predictor import open_predictor
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.run import evaluate_model
from evaluation.tasks import TaskData, fingerprint, read_task
from evaluation.tuned_backbone import adapted_backbone, trunk_of
from warehouse.records import Score

QUICK = EvaluateConfig(
    regularization=(0.01,),
    decoder_epochs=1,
    tune_epochs=2,
    finetune_learning_rates=(1e-3,),
    lora_learning_rates=(1e-2,),
    lora_rank=2,
    num_bootstrap=10,
)


def evaluated(folder: str, task: TaskData, root: Path, data: Path, *heads: str, draw: int = 0) -> Sequence[Score]:
    """Scores of some heads of a backbone."""
    model = ModelRef(model_id="abc", label="ours", path=folder, draw=draw)
    config = replace(QUICK, heads=heads)
    return evaluate_model(model, task=task, identity=fingerprint(task), config=config, cache_dir=str(root), data=str(data))


def told(folder: str, size: int | None = None) -> Any:
    return load_backbone(ModelRef(model_id="abc", label="ours", path=folder), device="cpu", image_size=size).module


def test_a_full_change_replaces_the_weights_of_a_copy() -> None:
    before = nn.Linear(2, 1)
    state = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([5.0])}
    after = changed(before, BackboneChange(kind="full", scale=1.0, tensors=state))
    assert after(torch.tensor([[1.0, 1.0]])).item() == 12.0
    assert not torch.equal(before.weight, after.weight)
    with pytest.raises(ValueError, match="the stored weights do not fit the backbone"):
        changed(nn.Linear(3, 1), BackboneChange(kind="full", scale=1.0, tensors=state))


def test_adapters_are_added_to_the_weights_that_they_name() -> None:
    before: Any = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        before[1].weight.copy_(torch.eye(2))
    low = {"1.lora_A": torch.tensor([[1.0, 2.0]]), "1.lora_B": torch.tensor([[10.0], [0.0]])}
    after = changed(before, BackboneChange(kind="lora", scale=0.5, tensors=low))
    assert torch.equal(after[1].weight, torch.tensor([[6.0, 10.0], [0.0, 1.0]]))  # 1 + 0.5 * 10 * 1, 0.5 * 10 * 2
    assert torch.equal(after[0].weight, before[0].weight)
    with pytest.raises(ValueError, match="the backbone has no layer '1', which the stored adapters change"):
        changed(nn.Linear(2, 2), BackboneChange(kind="lora", scale=1.0, tensors=low))


def test_a_changed_backbone_keeps_its_weights_at_other_sizes(vit_folder: str, cnn_folder: str) -> None:
    for folder, size, larger in ((vit_folder, 28, 56), (cnn_folder, 64, 128)):
        model = ModelRef(model_id="abc", label="ours", path=folder)
        before = load_backbone(model, device="cpu", image_size=size)
        change = BackboneChange(kind="full", scale=1.0, tensors={name: 2 * value for name, value in before.module.state_dict().items()})
        after = adapted_backbone(before, TunedClasses(change, None))  # type: ignore[arg-type]
        resized = resized_backbone(after, model, 2.0, seed=0)
        assert (resized.image_size, after.image_size) == (larger, size)
        found = resized.module.state_dict()
        for name, value in told(folder, larger).state_dict().items():
            assert torch.allclose(found[name], 2 * value, atol=1e-6), name


def test_attention_of_a_transformer_and_plain_convolutions_of_a_cnn_are_adapted(vit_folder: str, cnn_folder: str) -> None:
    names = adapted_layers(told(vit_folder))
    assert names[:3] == ["blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.1.attn.qkv"]
    assert len(names) == 10
    module = told(cnn_folder)
    layers = dict(module.named_modules())
    found = [layers[name] for name in adapted_layers(module)]
    assert len(found) == 32  # the 1x1 convolutions: one of the first block, two of each of the other 15, and the head's
    assert {layer.kernel_size for layer in found if isinstance(layer, nn.Conv2d)} == {(1, 1)}


def test_fine_tuned_classes_are_marked_and_replayed(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    scores = evaluated(vit_folder, read_task(colours), tmp_path, colours, "finetune")
    assert {score.head for score in scores} == {"finetune"}
    first = scores[0]
    assert first.details["backbone"] == "fine-tuned"
    assert first.details["protocol"] == "backbone fine-tuned; chosen on val, reported on test"
    assert first.details["epoch"] in {"1", "2"}
    stored = open_score(first, tmp_path)
    module = told(vit_folder)
    expected = sum(parameter.numel() for parameter in module.parameters()) + 3 * 24 + 3
    assert first.details["trained_parameters"] == str(expected)
    assert from_predictions(stored) == first.value
    assert from_head(stored, colours, num_workers=1) == first.value
    assert read_settings(stored.head)["state"]["kind"] == "full"
    predictor = open_predictor(first, tmp_path, cache_dir=tmp_path, device="cpu")
    assert predictor.backbone is not None
    assert not torch.equal(predictor.backbone.module.blocks[0].attn.qkv.weight, module.blocks[0].attn.qkv.weight)
    row = stored.predictions.to_pylist()[0]
    with Image.open(colours / row["path"]) as image:
        (found,) = predict_frames(predictor, [np.asarray(image.convert("RGB"))])
    assert found.probabilities == pytest.approx(row["probabilities"], abs=1e-5)
    assert found.distance is not None


def test_the_test_split_changes_nothing_of_a_fine_tuned_head(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours)
    turned = replace(task, items=tuple(replace(item, label="red") if item.split == "test" else item for item in task.items))
    heads = [
        open_score(evaluated(vit_folder, each, tmp_path / name, colours, "finetune")[0], tmp_path / name).head
        for name, each in (("true", task), ("tampered", turned))
    ]
    assert heads[0].read_bytes() == heads[1].read_bytes()


def test_fine_tuned_masks_are_replayed(cnn_folder: str, squares: Path, tmp_path: Path) -> None:
    (dice, _) = evaluated(cnn_folder, read_task(squares), tmp_path, squares, "finetune")
    assert (dice.head, dice.metric, dice.details["backbone"]) == ("finetune_fpn", "dice", "fine-tuned")
    stored = open_score(dice, tmp_path)
    assert from_head(stored, squares, num_workers=1) == pytest.approx(dice.value, abs=1e-12)
    predictor = open_predictor(dice, tmp_path, cache_dir=tmp_path, device="cpu")
    (found,) = predict_frames(predictor, [np.zeros((40, 50, 3), np.uint8)])
    assert found.mask is not None
    assert found.mask.shape == (40, 50)
    assert found.distance is not None


def test_further_draws_of_random_weights_have_no_tuned_heads(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    assert evaluated(vit_folder, read_task(colours), tmp_path, colours, "finetune", draw=1) == ()


def test_a_network_without_weights_at_hand_is_refused(vit_folder: str) -> None:
    backbone = replace(load_backbone(ModelRef(model_id="abc", label="ours", path=vit_folder), device="cpu"), has_tokens=False)
    with pytest.raises(BackboneError, match="the network comes from a package and cannot be trained here"):
        trunk_of(backbone)


def test_tuned_heads_have_short_names_for_masks() -> None:
    assert chosen_heads(("finetune", "lora"), (), "segmentation") == ("finetune_fpn", "lora_fpn")
    assert chosen_heads(("finetune", "lora"), (), "ordinal") == ("finetune", "lora")


def test_without_peft_lora_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    said = r"LoRA needs the package peft, which is not installed; run pip install peft, or give --heads finetune"
    with pytest.raises(HeadError, match=said):
        add_adapters(nn.Linear(2, 2), rank=1, seed=0)
    with pytest.raises(HeadError, match=said):
        check_peft(("knn", "lora_fpn"))
    check_peft(("knn", "finetune"))


def test_adapters_of_peft_are_stored_alone_and_replayed(
    vit_folder: str, cnn_folder: str, colours: Path, squares: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    scores = evaluated(vit_folder, read_task(colours), tmp_path, colours, "lora")
    assert scores[0].details["backbone"] == "LoRA of rank 2"
    # ten layers: 2 x (24 + 72) and 2 x (24 + 24); a classifier of three classes
    assert scores[0].details["trained_parameters"] == str(5 * (2 * 96 + 2 * 48) + 3 * 24 + 3)
    stored = open_score(scores[0], tmp_path)
    assert stored.head.stat().st_size < 20_000
    assert from_head(stored, colours, num_workers=1) == scores[0].value
    masks = evaluated(cnn_folder, read_task(squares), tmp_path, squares, "lora")
    assert from_head(open_score(masks[0], tmp_path), squares, num_workers=1) == pytest.approx(masks[0].value, abs=1e-12)

    module = told(cnn_folder, 64)
    seen = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = module(seen)
    adapted = told(cnn_folder, 64)
    add_adapters(adapted, rank=2, seed=0)
    assert torch.allclose(adapted(seen), expected)  # at first they are nothing
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.02)
        merged = changed(module, BackboneChange(kind="lora", scale=1.0, tensors=adapters(adapted)))
        assert not torch.allclose(merged(seen), expected, atol=1e-3)
        assert torch.allclose(merged(seen), adapted(seen), atol=1e-4)

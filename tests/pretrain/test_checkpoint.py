from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretrain.checkpoint import (
    SavedCheckpoint,
    best_checkpoint,
    checkpoint_damage,
    export_teacher,
    finish_checkpoint,
    load_state,
    pending_checkpoints,
    prune,
    save_checkpoint,
    step_dir,
    whole_checkpoints,
)
from pretrain.config import PretrainConfig
from pretrain.model import Network, forward_tokens
from pretrain.parallel import current_worker
from pretrain.start import find_start
from pretrain.state import build_state, state_tensors
from pretrain.state_files import StateError


def saved(step: int, score: float) -> SavedCheckpoint:
    return SavedCheckpoint(step=step, checkpoint_id="0" * 64, validation_metric="m", validation_score=score)


def test_a_state_comes_back_bit_for_bit_into_another_start(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    for number, tensor in enumerate(state_tensors(state).values()):
        tensor.add_(number + torch.rand(tensor.shape))
    before = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    save_checkpoint(tmp_path, 3, state_tensors(state), state.teacher_network, micro, "r", worker)

    other = build_state(micro, worker)
    load_state(tmp_path, 3, state_tensors(other), worker=worker)
    after = state_tensors(other)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(name.startswith("optimizer.exp_avg_sq.backbone.") for name in after)


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    save_checkpoint(tmp_path, 3, state_tensors(state), state.teacher_network, micro, "r", worker)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json"}


def test_an_exported_backbone_gives_equal_features_in_a_fresh_process(tmp_path: Path, micro: PretrainConfig) -> None:
    torch.manual_seed(0)
    state = build_state(micro, current_worker(micro.train, use_gpu=False))
    teacher = state.teacher_network
    assert isinstance(teacher, Network)
    assert teacher.backbone.pos_embed is not None
    torch.nn.init.normal_(teacher.backbone.pos_embed)
    export_teacher(tmp_path, dict(teacher.state_dict()), micro, card={"run_id": "r", "step": 1})
    images = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(1))  # a size that neither crop has
    with torch.no_grad():
        expected = forward_tokens(teacher.backbone, images)[0]
    code = f"""
import timm, torch
model = timm.create_model("local-dir:{tmp_path}/backbone", pretrained=True, num_classes=0).eval()
with torch.no_grad():
    features = model(torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(1)))
data = timm.data.resolve_model_data_config(model)
torch.save((features, data["mean"], data["input_size"], data["interpolation"]), "{tmp_path}/found.pt")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    features, mean, input_size, interpolation = torch.load(tmp_path / "found.pt", weights_only=True)
    assert torch.equal(features, expected)
    assert list(mean) == [0.485, 0.456, 0.406]
    assert list(input_size) == [3, 32, 32]
    assert interpolation == "bicubic"
    assert json.loads((tmp_path / "backbone" / "config.json").read_text())["endoforge"] == {"run_id": "r", "step": 1}


def test_the_best_is_the_highest_score_and_of_equals_the_earliest() -> None:
    assert best_checkpoint([saved(10, 0.5), saved(20, 0.7), saved(30, 0.7), saved(40, 0.1)]).step == 20


def _pretend_checkpoints(run_dir: Path, scores: dict[int, float]) -> None:
    for step, score in scores.items():
        weights = step_dir(run_dir, step) / "backbone" / "model.safetensors"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(str(step).encode())
        finish_checkpoint(run_dir, step, "knn", score)


def test_pruning_keeps_the_best_the_sparse_ones_and_the_newest(tmp_path: Path) -> None:
    _pretend_checkpoints(tmp_path, {10: 0.9, 20: 0.2, 30: 0.8, 40: 0.3, 50: 0.4, 60: 0.1})
    assert prune(tmp_path, keep_best=2, keep_every=40) == [20, 50]
    assert [kept.step for kept in whole_checkpoints(tmp_path)] == [10, 30, 40, 60]
    assert prune(tmp_path, keep_best=2, keep_every=0) == [40]


def test_only_a_folder_with_checkpoint_json_is_whole_and_leftovers_go(tmp_path: Path) -> None:
    _pretend_checkpoints(tmp_path, {10: 0.5})
    (step_dir(tmp_path, 20) / "backbone").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step_0000030.tmp" / "state").mkdir(parents=True)
    assert [kept.step for kept in whole_checkpoints(tmp_path)] == [10]
    assert pending_checkpoints(tmp_path) == [20]
    assert not (tmp_path / "checkpoints" / "step_0000030.tmp").exists()


def test_a_state_without_one_of_its_tensors_is_an_error(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    tensors = state_tensors(state)
    partial = {name: tensor for name, tensor in tensors.items() if name != "center.dino"}
    save_checkpoint(tmp_path, 1, partial, state.teacher_network, micro, "r", worker)
    with pytest.raises(RuntimeError, match=r"reading the training state of step 1 failed .*center\.dino"):
        load_state(tmp_path, 1, tensors, worker=worker)


def test_a_tensor_too_many_or_of_another_shape_is_an_error(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    tensors = state_tensors(state)
    save_checkpoint(tmp_path, 1, tensors | {"center.third": torch.zeros(2)}, state.teacher_network, micro, "r", worker)
    with pytest.raises(StateError, match=r"step 1 failed \(it has unknown center\.third\); .* choose a new run folder"):
        load_state(tmp_path, 1, tensors, worker=worker)
    save_checkpoint(tmp_path, 2, tensors | {"center.dino": torch.zeros(1, 5)}, state.teacher_network, micro, "r", worker)
    with pytest.raises(StateError, match=r"other shapes have center\.dino"):
        load_state(tmp_path, 2, tensors, worker=worker)


def test_looking_for_a_start_changes_nothing_in_a_run_at_work(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    for step in (2, 4):
        save_checkpoint(tmp_path, step, state_tensors(state), state.teacher_network, micro, "r", worker)
    _flip(step_dir(tmp_path, 4) / "state.json", 40)
    (tmp_path / "checkpoints" / "step_0000006.tmp").mkdir()
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert find_start(tmp_path).step == 2
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_any_change_of_a_state_file_is_found_and_named(tmp_path: Path, micro: PretrainConfig) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    save_checkpoint(tmp_path, 3, state_tensors(state), state.teacher_network, micro, "r", worker)
    folder = step_dir(tmp_path, 3)
    (path,) = (folder / "state").iterdir()
    whole, name = path.read_bytes(), re.escape(f"state/{path.name}")
    assert checkpoint_damage(tmp_path, 3) is None
    for offset in (0, len(whole) // 2, len(whole) - 1):
        _flip(path, offset)
        assert re.fullmatch(f"the content of {name} has changed", str(checkpoint_damage(tmp_path, 3)))
        _flip(path, offset)
    path.write_bytes(whole[:-5])
    assert re.fullmatch(rf"{name} has {len(whole) - 5:,} bytes of {len(whole):,}", str(checkpoint_damage(tmp_path, 3)))
    path.unlink()
    assert re.fullmatch(f"{name} is missing", str(checkpoint_damage(tmp_path, 3)))
    path.write_bytes(whole)
    (folder / "state" / "more.safetensors").write_bytes(whole)
    assert checkpoint_damage(tmp_path, 3) == "state/more.safetensors does not belong to it"
    (folder / "state" / "more.safetensors").unlink()
    _flip(folder / "state.json", 40)
    assert checkpoint_damage(tmp_path, 3) == "state.json is not as it was written"
    (folder / "state.json").unlink()
    assert checkpoint_damage(tmp_path, 3) == "state.json is missing"

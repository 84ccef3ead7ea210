"""The trainer over clips: the guarantees of the image trainer, on an H.264 dataset and a tiny network."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from pretrain.batches import open_batches
from pretrain.checkpoint import best_checkpoint, step_dir, whole_checkpoints
from pretrain.config import CheckpointConfig, HeadConfig, PretrainConfig, TrainConfig
from pretrain.damage import DamagedDatasetError
from pretrain.data import StepBatches
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.parallel import current_worker
from pretrain.reader import ShardReader
from pretrain.recipes import recipe
from pretrain.state import build_state
from pretrain.trainer import Trainer, train
from pretrain.video.batches import ClipBatches
from pretrain.video.decode import ClipError, clip_header, decoded_frames
from pretrain.video.export import load_video_backbone
from pretrain.video.fixed_views import FixedClipViews
from pretrain.video.network import build_video_network
from tests.helpers.moving_clips import moving_clip, write_clips
from tests.helpers.shards import picture, write_dataset


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = [moving_clip(number, num_frames=20, width=48, height=40) for number in range(10)]
    return write_clips(tmp_path_factory.mktemp("clips") / "moving", clips, per_shard=4)


def _micro(name: str = "endofm") -> PretrainConfig:
    whole = recipe(name)
    assert whole.video is not None
    return replace(
        whole,
        model=replace(whole.model, img_size=32, patch_size=16, embed_dim=12, depth=2, num_heads=2, drop_path_rate=0.3),
        dino_head=HeadConfig(num_prototypes=24, hidden_dim=16, bottleneck_dim=8, norm_last_layer=True),
        augment=replace(whole.augment, local_size=16, num_local=2),
        optim=replace(whole.optim, base_lr=0.1, warmup_steps=1, freeze_last_layer_steps=1, teacher_momentum=0.9),
        train=TrainConfig(num_steps=4, batch_size=4, seed=5, log_every=1, num_loader_workers=0, precision="fp32"),
        checkpoint=CheckpointConfig(every=2),
        video=replace(whole.video, num_frames=4, global_frames=(2, 4), local_frames=(2, 2)),
    )


def _run(config: PretrainConfig, dataset_dir: Path, run_dir: Path, **changed: Any) -> None:
    arguments: dict[str, Any] = {"run_id": "r1", "validate": None, "backend": "local"} | changed
    pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, **arguments)


def _losses(run_dir: Path) -> dict[tuple[int, str], float]:
    rows = read_metrics(run_dir / "metrics.jsonl")
    return {(step, name): value for step, name, value in rows if not name.startswith("speed/")}


def _killed_in_step(number: int, config: PretrainConfig, dataset_dir: Path, run_dir: Path) -> None:
    """Train in a process of its own, which gets SIGKILL between the forward and the backward pass of that step, counted from 1."""
    asked = pickle.dumps((number, config, dataset_dir, run_dir)).hex()
    done = subprocess.run([sys.executable, "-c", _DYING.format(path=sys.path), asked], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


_DYING = """
import itertools, os, pickle, signal, sys
sys.path[:] = {path!r}
import torch
from pretrain.launch import pretrain
number, config, dataset_dir, run_dir = pickle.loads(bytes.fromhex(sys.argv[1]))
backward, steps = torch.autograd.backward, itertools.count(1)

def dying(*arguments, **options):
    if next(steps) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    backward(*arguments, **options)

torch.autograd.backward = dying
pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r1", validate=None, backend="local")
"""


def test_a_run_that_is_killed_in_a_step_and_continued_has_the_losses_of_one_that_is_not(clips_dir: Path, tmp_path: Path) -> None:
    config = _micro()
    _killed_in_step(4, config, clips_dir, tmp_path / "killed")
    assert whole_checkpoints(tmp_path / "killed")[-1].step == 2
    assert max(step for step, _ in _losses(tmp_path / "killed")) == 3  # a step that is done again
    _run(config, clips_dir, tmp_path / "whole")
    _run(config, clips_dir, tmp_path / "killed")
    assert _losses(tmp_path / "killed") == pytest.approx(_losses(tmp_path / "whole"), rel=1e-5)
    best = best_checkpoint(whole_checkpoints(tmp_path / "whole"))
    backbone = load_video_backbone(step_dir(tmp_path / "whole", best.step) / "backbone")
    assert backbone.sizes.num_frames == 4
    named = {name for _, name in _losses(tmp_path / "whole")}
    assert {"loss/dino_global", "loss/dino_local", "teacher/entropy", "data/unreadable_images", "grad_norm/backbone"} <= named
    assert config.video is not None
    with pytest.raises(ValueError, match=r"other settings \(video\.num_frames was 4 and is now 8\); give them back"):
        _run(replace(config, video=replace(config.video, num_frames=8)), clips_dir, tmp_path / "whole")


def test_the_clean_recipe_with_patches_and_spread_takes_a_step_in_either_precision(clips_dir: Path) -> None:
    config = _micro("endofm-clean")
    config = replace(config, loss=replace(config.loss, ibot_weight=1.0, koleo_weight=0.1, koleo_group=4))
    batch = ClipBatches(ShardReader(clips_dir), config, rank=0, world_size=1)[0]
    assert [views.dtype for views in batch.views] == [torch.uint8] * 3
    assert batch.teacher_drops is None
    total = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        own = replace(config, train=replace(config.train, precision=precision))
        worker = current_worker(own.train, use_gpu=False)
        values = Trainer(build_state(own, worker), own, worker).step(0, batch)
        assert float(values["loss/ibot"]) > 0
        assert float(values["loss/koleo"]) != 0
        assert set(values) >= {"grad_norm/all"}
        assert all(bool(value.isfinite().all()) for value in values.values())
        total.append(float(values["loss/total"]))
    assert total[1] != total[0]
    assert total[1] == pytest.approx(total[0], rel=0.02)


@pytest.mark.parametrize("name", ["endofm", "endofm-clean"])
def test_two_workers_see_the_halves_of_what_one_sees(name: str, clips_dir: Path) -> None:
    config, reader = _micro(name), ShardReader(clips_dir)
    config = replace(config, loss=replace(config.loss, ibot_weight=1.0))
    whole = ClipBatches(reader, config, rank=0, world_size=1)[3]
    halves = [ClipBatches(reader, config, rank=rank, world_size=2)[3] for rank in (0, 1)]
    for number, views in enumerate(whole.views):
        assert torch.cat([half.views[number] for half in halves], dim=1).equal(views)
    for kind in ("drops", "teacher_drops"):
        for number, group in enumerate(getattr(whole, kind) or ()):
            count = whole.views[number].shape[0]
            parts = [getattr(half, kind)[number] for half in halves]
            for field in ("time", "frames", "clips"):
                joined = [getattr(part, field).view(2, count, 2, -1) for part in parts]
                assert torch.cat(joined, dim=2).equal(getattr(group, field).view(2, count, 4, -1)), (kind, field)
    assert whole.masks is not None
    masks = [half.masks.view(2, 2, -1) for half in halves if half.masks is not None]
    assert torch.cat(masks, dim=1).equal(whole.masks.view(2, 4, -1))


def _is_gray(view: torch.Tensor) -> bool:
    return bool((view[..., 0] == view[..., 1]).all())


def _work(rank: int, store: str, arguments: dict[str, Any]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    train(**arguments)
    dist.destroy_process_group()


@pytest.mark.parametrize("name", [pytest.param("endofm", marks=pytest.mark.drill), "endofm-clean"])
def test_two_workers_learn_what_one_learns(name: str, clips_dir: Path, tmp_path: Path) -> None:
    config = _micro(name)
    _run(config, clips_dir, tmp_path / "one")
    (tmp_path / "two").mkdir()
    arguments = {
        "config": config,
        "dataset_dir": clips_dir,
        "run_dir": tmp_path / "two",
        "run_id": "r1",
        "validate": None,
        "use_gpu": False,
    }
    forks = multiprocessing.get_context("forkserver")
    workers = [forks.Process(target=_work, args=(rank, str(tmp_path / "store"), arguments)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    one, two = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    learned = [place for place in one if place[1].startswith(("loss/", "teacher/"))]
    assert max(step for step, _ in learned) == config.train.num_steps
    assert {place: two[place] for place in learned} == pytest.approx({place: one[place] for place in learned}, rel=1e-5, abs=1e-5)


def test_released_colours_repeat_in_the_next_epoch_and_clean_ones_do_not(clips_dir: Path) -> None:
    for name, repeats in (("endofm", True), ("endofm-clean", False)):
        config = replace(_micro(name), augment=replace(_micro(name).augment, hflip_p=0.0, jitter_p=0.0, gray_p=0.5))
        batches = ClipBatches(ShardReader(clips_dir), config, rank=0, world_size=1)
        grays = [[_is_gray(view) for group in batches[step].views for view in group.flatten(0, 1)] for step in (0, 2)]
        assert (grays[0] == grays[1]) == repeats


def test_a_short_clip_and_a_broken_one_are_counted_and_others_stand_in(clips_dir: Path, tmp_path: Path) -> None:
    good = [moving_clip(number, num_frames=20, width=48, height=40) for number in range(6)]
    bad = [moving_clip(7, num_frames=15, width=48, height=40), good[0][:-400]]
    folder = write_clips(tmp_path / "some", good + bad, per_shard=4)
    config = _micro()
    batches = ClipBatches(ShardReader(folder), config, rank=0, world_size=1)
    assert int(batches[0].num_unreadable) + int(batches[1].num_unreadable) == 2
    assert {int(shard) for step in (0, 1) for shard in batches[step].unreadable_shards} == {1}
    all_bad = write_clips(tmp_path / "bad", bad[:1] * 4)
    with pytest.raises(DamagedDatasetError, match="has no readable clip among 4 tried"):
        ClipBatches(ShardReader(all_bad), config, rank=0, world_size=1)[0]


def test_images_for_a_recipe_on_clips_are_refused_and_the_reverse(clips_dir: Path, tmp_path: Path) -> None:
    images = write_dataset(tmp_path / "images", [picture(number) for number in range(4)], 4)
    with pytest.raises(ValueError, match=r"holds images, and this recipe trains on clips; give a recipe on images"):
        open_batches(ShardReader(images), _micro(), rank=0, world_size=1)
    with pytest.raises(ValueError, match=r"holds clips, and this recipe trains on images; give a recipe on clips"):
        open_batches(ShardReader(clips_dir), recipe("smoke"), rank=0, world_size=1)
    assert isinstance(open_batches(ShardReader(images), replace(recipe("smoke"), train=_micro().train), rank=0, world_size=1), StepBatches)


def test_frames_are_those_that_were_written_by_their_number() -> None:
    data = moving_clip(3, num_frames=24, width=64, height=48)
    assert clip_header(data) == (24, 30.0, 64, 48)
    found = decoded_frames(data, [0, 7, 23])
    assert sorted(found) == [0, 7, 23]
    assert found[7].shape == (48, 64, 3)
    every = decoded_frames(data, range(24))
    assert all(np.array_equal(every[index], found[index]) for index in found)
    assert len({frame.tobytes() for frame in every.values()}) == 24
    with pytest.raises(ClipError, match="ends before frame 24"):
        decoded_frames(data, [3, 24])
    with pytest.raises(ClipError, match="cannot be decoded"):
        clip_header(b"no video")


def test_views_for_choosing_are_the_same_at_every_call(clips_dir: Path) -> None:
    views = FixedClipViews(dataset_dir=clips_dir, config=_micro(), num_clips=6)
    first, second = list(views()), list(views())
    assert [pair[0].shape for pair in first] == [(6, 3, 2, 32, 32)]
    assert all(one.equal(other) for pair, again in zip(first, second, strict=True) for one, other in zip(pair, again, strict=True))


def test_a_run_starts_from_an_inflated_image_network(clips_dir: Path, tmp_path: Path) -> None:
    import timm

    from pretrain.init_source import find_init
    from pretrain.init_weights import fit_init
    from pretrain.initial import give_initial
    from pretrain.video.init_weights import continued_on_clips

    image = timm.create_model("vit_tiny_patch16_224", embed_dim=12, depth=2, num_heads=2, img_size=32, num_classes=0)
    folder = tmp_path / "image"
    folder.mkdir()
    torch.save(image.state_dict(), folder / "weights.pt")
    source = find_init(str(folder / "weights.pt"))
    config = continued_on_clips(_micro(), source)
    assert (config.model.embed_dim, config.model.depth, config.model.patch_size) == (12, 2, 16)
    fitted = fit_init(source, config)
    assert "30 tensors loaded, 12 inflated over time" in fitted.report.sentence()
    give_initial(tmp_path / "run", fitted)
    _run(config, clips_dir, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "init" / "init.json").read_text())
    assert len(told["inflated"]) == 12


def test_a_wider_start_scales_the_linear_weights_alone() -> None:
    config = _micro("endofm-clean")
    assert config.video is not None
    found = []
    for init_std in (0.02, 0.06):
        torch.manual_seed(0)
        found.append(build_video_network(replace(config, video=replace(config.video, init_std=init_std)), student=True).backbone)
    narrow, wide = (dict(backbone.named_parameters()) for backbone in found)
    torch.testing.assert_close(wide["blocks.0.attn.qkv.weight"], 3 * narrow["blocks.0.attn.qkv.weight"])
    assert not wide["blocks.0.temporal_fc.weight"].any()
    assert wide["pos_embed"].equal(narrow["pos_embed"])
    with pytest.raises(ValueError, match="init_std is 0; give a positive number"):
        replace(config.video, init_std=0)

"""Micro-batches against one big batch: the same losses, gradient norms and weights, and no matrix of all rows and prototypes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pretrain.accumulation import check_accumulation
from pretrain.chunked_targets import centered, sinkhorn_column
from pretrain.config import HeadConfig, LossConfig, PretrainConfig
from pretrain.data import ShardReader, StepBatches
from pretrain.identity import learning_settings
from pretrain.losses import sinkhorn_knopp, update_center
from pretrain.metrics import read_metrics
from pretrain.micro_batches import is_chunked, micro_batches
from pretrain.parallel import current_worker
from pretrain.recipes import recipe
from pretrain.state import build_state, state_tensors
from pretrain.trainer import Trainer, train

Run = Callable[[PretrainConfig], tuple[list[dict[str, float]], dict[str, Tensor]]]


class _Stop(Exception):
    pass


def parts(config: PretrainConfig, accumulate: int) -> PretrainConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=accumulate))


@pytest.fixture(scope="module")
def full(micro: PretrainConfig) -> PretrainConfig:
    """The whole recipe in groups of three images; LayerScale and rate as in test_workers.py, for well-conditioned gradients."""
    return dataclasses.replace(
        micro,
        model=dataclasses.replace(micro.model, drop_path_rate=0.4, layer_scale_init=1.0),
        loss=dataclasses.replace(micro.loss, koleo_group=3),
        optim=dataclasses.replace(micro.optim, base_lr=2e-4),
        train=dataclasses.replace(micro.train, num_steps=4, batch_size=12),
        checkpoint=dataclasses.replace(micro.checkpoint, every=2, validate_start=False),
    )


@pytest.fixture(scope="module")
def run(dataset_dir: Path) -> Run:
    """Four steps: their metrics, and the state after them."""

    @cache
    def made(config: PretrainConfig) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        worker = current_worker(config.train, use_gpu=False)
        trainer = Trainer(build_state(config, worker), config, worker)
        batches = StepBatches(ShardReader(dataset_dir), config, rank=0, world_size=1)
        rows = [{name: float(value) for name, value in trainer.step(step, batches[step]).items()} for step in range(4)]
        return rows, state_tensors(trainer.state)

    return made


@pytest.mark.parametrize("accumulate", [2, 4])
@pytest.mark.parametrize("setup", ["sinkhorn", "softmax", "recomputed"])
def test_micro_batches_give_losses_norms_and_weights_of_the_whole_batch(
    accumulate: int,
    setup: str,
    full: PretrainConfig,
    run: Run,
) -> None:
    if setup == "softmax":
        full = dataclasses.replace(full, ibot_head=None, loss=dataclasses.replace(full.loss, centering="softmax"))
    if setup == "recomputed":
        full = dataclasses.replace(full, model=dataclasses.replace(full.model, activation_checkpointing=True))
    rows, state = run(parts(full, accumulate))
    expected, weights = run(full)
    for found, other in zip(rows, expected, strict=True):
        assert found == pytest.approx(other, rel=1e-5, abs=1e-6)
    for name, tensor in weights.items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def test_a_run_cut_and_continued_with_other_micro_batches_is_the_straight_run(
    full: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    def go(name: str, accumulate: int, last: int = -1) -> list[tuple[int, str, float]]:
        def stop(done: int) -> None:
            if done == last:
                raise _Stop

        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        arguments = {"dataset_dir": dataset_dir, "run_dir": run_dir, "run_id": "r", "validate": None, "use_gpu": False}
        train(parts(full, accumulate), **arguments, at_checkpoint=stop)  # type: ignore[arg-type]
        rows = read_metrics(run_dir / "metrics.jsonl")
        return sorted(row for row in rows if row[1].startswith(("loss/", "grad_norm/", "teacher/")))

    with pytest.raises(_Stop):
        go("cut", 4, last=2)
    found, expected = go("cut", 2), go("straight", 1)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], rel=1e-5, abs=1e-6)


def test_accumulation_is_no_part_of_a_runs_identity(full: PretrainConfig) -> None:
    assert learning_settings(parts(full, 4)) == learning_settings(full)


def test_micro_batches_hold_the_masks_and_dropped_branches_of_their_images(full: PretrainConfig, dataset_dir: Path) -> None:
    batch = StepBatches(ShardReader(dataset_dir), full, rank=0, world_size=1)[3]
    cut = micro_batches(batch, 4)
    for view in range(2):
        assert torch.equal(torch.cat([part.global_crops[view] for part in cut]), batch.global_crops[view])
        masks = torch.cat([part.masks.view(2, 3, -1)[view] for part in cut])
        assert torch.equal(masks, batch.masks.view(2, 12, -1)[view])
    assert float(sum(part.mask_weights.sum() for part in cut)) == pytest.approx(float(batch.mask_weights.sum()))
    assert batch.kept_local is not None
    own = [part.kept_local.places.view(2, 2, 2, 3) >= 0 for part in cut if part.kept_local is not None]
    assert torch.equal(torch.cat(own, dim=-1), batch.kept_local.places.view(2, 2, 2, 12) >= 0)
    assert cut[1].kept_local is not None
    assert cut[1].kept_local.counts.tolist() == own[1].flatten(-2).sum(dim=-1).tolist()


@pytest.mark.parametrize(
    ("accumulate", "workers", "loss", "message"),
    [
        (4, 2, LossConfig(koleo_group=3), "batch_size 12 cannot be cut into 4 micro-batches on each of 2 workers; give a train.accumulate"),
        (2, 1, LossConfig(koleo_group=4), "makes micro-batches of 6 images, which cannot hold groups of 4; give a lower train.accumulate"),
        (2, 1, LossConfig(koleo_over="all"), "KoLeo would miss neighbours: train.accumulate 2 on 1 workers .* koleo_over='all'"),
        (2, 2, LossConfig(koleo_over="device"), "cannot hold koleo_over='device'"),
    ],
)
def test_what_micro_batches_cannot_give_exactly_is_refused(
    accumulate: int, workers: int, loss: LossConfig, message: str, full: PretrainConfig
) -> None:
    with pytest.raises(ValueError, match=message):
        check_accumulation(parts(dataclasses.replace(full, loss=loss), accumulate), workers)


def test_a_number_that_does_not_divide_the_batch_is_refused_at_once(full: PretrainConfig) -> None:
    with pytest.raises(ValueError, match="accumulate is 5, which does not divide batch_size 12; give a divisor"):
        parts(full, 5)


def test_logits_are_chunked_where_a_worker_would_have_too_many(full: PretrainConfig) -> None:
    vits14 = recipe("vits14")  # 2,048 images: 157,286 hidden patches x 65,536 prototypes on one GPU
    assert [is_chunked(vits14, workers) for workers in (1, 4, 8)] == [True, True, False]
    assert [is_chunked(full, 1), is_chunked(parts(full, 2), 1)] == [False, True]
    for name in ("vits14", "vitb14"):  # as docs/pretraining.md advises for one GPU
        check_accumulation(parts(recipe(name), 16), 1)
    check_accumulation(parts(recipe("small"), 4), 1)


def test_a_head_shared_with_few_prototypes_learns_in_chunks_too(full: PretrainConfig, run: Run) -> None:
    config = dataclasses.replace(full, dino_head=HeadConfig(num_prototypes=5, hidden_dim=16, bottleneck_dim=8), ibot_head=None)
    assert run(parts(config, 4))[0][3]["loss/total"] == pytest.approx(run(config)[0][3]["loss/total"], rel=1e-5)


def test_targets_of_all_parts_are_those_of_all_rows_at_once() -> None:
    generator = torch.Generator().manual_seed(4)
    rows, prototypes = (torch.randn(count, 6, generator=generator) for count in (23, 11))
    logits = rows @ prototypes.T
    logits_of_parts = [rows[:9], rows[9:9], rows[9:]]
    column = sinkhorn_column(logits_of_parts, prototypes, 0.5, num_iterations=3, dtype=torch.float32, chunk=44)
    expected = sinkhorn_knopp(logits, 0.5)
    torch.testing.assert_close((logits / 0.5 + column).softmax(dim=-1), expected.probs())
    torch.testing.assert_close(column, expected.column, rtol=1e-4, atol=1e-4)
    center = torch.randn(1, 11, generator=generator)
    torch.testing.assert_close(centered(center, logits_of_parts, prototypes, momentum=0.8), update_center(center, logits, momentum=0.8))


def test_no_rows_at_all_have_a_finite_column_and_keep_the_shrunken_centre() -> None:
    prototypes = torch.ones(4, 3)
    column = sinkhorn_column([torch.ones(0, 3)], prototypes, 0.1, num_iterations=3, dtype=torch.float32, chunk=8)
    assert column.isfinite().all()
    assert centered(torch.ones(1, 4), [torch.ones(0, 3)], prototypes, momentum=0.9).tolist() == [[pytest.approx(0.9)] * 4]

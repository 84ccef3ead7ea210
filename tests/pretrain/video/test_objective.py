"""The reference checks 8 to 13: the losses, the centre, and a whole step of the real trainer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pretrain.clipping import clip_gradients
from pretrain.config import HeadConfig, OptimConfig, PretrainConfig
from pretrain.model import Outputs, PrototypeHead
from pretrain.objective import Centers, Losses, compute_losses, make_targets
from pretrain.parallel import current_worker
from pretrain.recipes import recipe
from pretrain.state import build_state
from pretrain.trainer import Trainer
from pretrain.video.batches import ClipBatch
from pretrain.video.network import VideoNetwork
from tests.pretrain.video.filler import det, fill, network_parameters

_FRAMES = (8, 16, 2, 2, 4, 4, 8, 8, 16, 16)
_CLIPS = 2


@pytest.fixture(scope="module")
def config() -> PretrainConfig:
    """The released recipe at the sizes of the checks, one step of rate 1e-3."""
    whole = recipe("endofm")
    assert whole.video is not None
    return replace(
        whole,
        model=replace(whole.model, img_size=48, patch_size=16, embed_dim=12, depth=2, num_heads=2, drop_path_rate=0.0),
        dino_head=HeadConfig(num_prototypes=16, hidden_dim=16, bottleneck_dim=8, norm_last_layer=True),
        augment=replace(whole.augment, local_size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        optim=replace(
            whole.optim, base_lr=1e-3 * 256 / _CLIPS, warmup_steps=0, clip_grad_norm=0.02, weight_decay=0.04, freeze_last_layer_steps=1
        ),
        train=replace(whole.train, batch_size=_CLIPS, num_steps=1000, precision="fp32"),
    )


def _loss(student: Tensor, teacher: Tensor, centers: Centers, config: PretrainConfig) -> tuple[Losses, Centers]:
    empty = student[:0]
    targets = make_targets(Outputs(teacher, teacher, empty, None), centers, config.loss, 0.04)
    outputs = Outputs(det((6, 4), 0.3), student[:6], empty, student[6:])
    return compute_losses(outputs, targets, torch.empty(0), config.loss), targets.centers


def test_the_loss_has_eighteen_terms_and_the_centre_follows_it(config: PretrainConfig) -> None:
    student, teacher, centers = det((30, 16), 0.53, s=0.5), det((6, 16), 0.37, s=0.5), Centers(torch.zeros(1, 16), torch.zeros(1, 16))
    losses, centers = _loss(student, teacher, centers, config)
    assert float(losses.total) == pytest.approx(4.5133185, rel=1e-5)
    assert float(losses.dino_global) * 18 / 2 == pytest.approx(4.8963858, rel=1e-5)
    assert float(losses.dino_local) * 18 / 16 == pytest.approx(4.4654344, rel=1e-5)
    assert float(centers.dino.sum()) == pytest.approx(0.0278240, rel=1e-5, abs=1e-6)
    assert centers.dino[0, :4].tolist() == pytest.approx([-0.0207954, -0.0094705, 0.003001, 0.0148813], rel=1e-5, abs=1e-6)
    losses, centers = _loss(student, teacher, centers, config)
    assert float(losses.total) == pytest.approx(4.4960837, rel=1e-5)
    assert float(centers.dino.sum()) == pytest.approx(0.0528656, rel=1e-5, abs=1e-6)


def test_outputs_that_say_nothing_give_the_logarithm_of_the_prototypes(config: PretrainConfig) -> None:
    losses, _ = _loss(torch.zeros(30, 16), torch.zeros(6, 16), Centers(torch.zeros(1, 16), torch.zeros(1, 16)), config)
    assert float(losses.total) == pytest.approx(math.log(16), rel=1e-6)


def _head_parameters(head: PrototypeHead) -> list[nn.Parameter]:
    return [*head.mlp.parameters(), head.last_layer.weight_g, head.last_layer.weight_v]


@torch.no_grad()
def _fill(network: VideoNetwork, s: float) -> None:
    backbone = network_parameters(network.backbone)
    fill(backbone, s=s)
    fill(_head_parameters(network.dino_head), s=s, first=len(backbone))
    network.dino_head.last_layer.weight_g.fill_(1.0)


def _batch() -> ClipBatch:
    sides = (48, 48, *[32] * 8)
    views = [det((_CLIPS, 3, frames, side, side), 0.0371 + 0.001 * v) for v, (frames, side) in enumerate(zip(_FRAMES, sides, strict=True))]
    grouped: list[list[Tensor]] = [[views[0]], [views[1]], *([views[v], views[v + 1]] for v in range(2, 10, 2))]
    return ClipBatch(
        views=tuple(torch.stack(group).permute(0, 1, 3, 4, 5, 2) for group in grouped),
        drops=None,
        teacher_drops=None,
        masks=None,
        unreadable_shards=torch.empty(0, dtype=torch.int64),
    )


@pytest.fixture(scope="module")
def trainer(config: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    worker = current_worker(config.train, use_gpu=False)
    state = build_state(config, worker)
    assert isinstance(state.student_network, VideoNetwork)
    assert isinstance(state.teacher_network, VideoNetwork)
    _fill(state.student_network, 1.0)
    _fill(state.teacher_network, 0.9)
    return Trainer(state, config, worker, run_dir=Path(tmp_path_factory.mktemp("run")))


def test_a_whole_step_gives_the_reference_values(trainer: Trainer) -> None:
    student, teacher, batch = trainer.state.student_network, trainer.state.teacher_network, _batch()
    losses, centers = trainer.backward(0, batch, 0.04)
    assert float(losses.total.detach()) == pytest.approx(1.1996661, rel=1e-5)
    assert float(centers.dino.sum()) == pytest.approx(0.050799, rel=1e-5, abs=1e-6)
    assert centers.dino[0, :4].tolist() == pytest.approx([0.039174, 0.016858, -0.00852, -0.031819], rel=1e-5, abs=1e-6)
    gradients = {name: value.grad for name, value in student.named_parameters() if value.grad is not None}
    assert len(gradients) == 54
    norms = {name: float(gradient.double().norm()) for name, gradient in gradients.items()}
    assert math.hypot(*norms.values()) == pytest.approx(7.8332543, rel=1e-5)
    expected = {
        "backbone.cls_token": 2.312675e-3,
        "backbone.pos_embed": 2.312730e-3,
        "backbone.time_embed": 9.8556e-6,
        "backbone.patch_embed.proj.weight": 7.32819e-5,
        "backbone.blocks.0.temporal_attn.qkv.weight": 4.16511e-5,
        "backbone.blocks.0.temporal_fc.weight": 4.62984e-4,
        "backbone.blocks.1.attn.qkv.weight": 1.025515e-3,
        "backbone.norm.weight": 2.727759e-2,
        "dino_head.mlp.0.weight": 0.1013315,
        "dino_head.last_layer.weight_v": 7.772478,
    }
    assert {name: norms[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert sum(norm > 0.02 for norm in norms.values()) == 13

    last = [parameter.clone() for parameter in student.dino_head.last_layer.parameters()]
    trainer.step(0, batch)
    assert all(before.equal(after) for before, after in zip(last, student.dino_head.last_layer.parameters(), strict=True))
    ones = 16.0  # the prototypes' lengths, which the reference does not count
    sums = [sum(float(value.detach().double().sum()) for value in network.parameters()) for network in (student, teacher)]
    assert min(abs(sums[0] - 58.1235493), abs(sums[0] - ones - 58.1235493)) < 1e-4
    assert min(abs(sums[1] - 54.2765950), abs(sums[1] - ones - 54.2765950)) < 1e-4


def test_one_pass_for_views_alike_gives_what_single_passes_give(trainer: Trainer) -> None:
    network, batch = trainer.state.student_network, _batch()
    assert trainer._clips is not None
    with torch.no_grad():
        inputs = trainer._clips.inputs(batch)
        together = network(inputs.groups)
        views = [view for group in inputs.groups for view in torch.split(group, _CLIPS)]
        alone = network(views)
    assert together.local_logits is not None
    assert together.local_logits.allclose(alone.local_logits, atol=2e-7)


@pytest.mark.parametrize(
    ("over", "expected"),
    [("tensor", [3.0, 2**0.5]), ("all", [10 * 6**0.5 * 3 / 602**0.5, 2**0.5 * 3 / 602**0.5]), ("part", [3.0, 2**0.5])],
)
def test_gradients_are_limited_by_tensor_or_together(over: str, expected: list[float]) -> None:
    tensors = [nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(2))]
    for tensor, value in zip(tensors, (10.0, 1.0), strict=True):
        tensor.grad = torch.full_like(tensor, value)
    optim = OptimConfig(base_lr=1e-3, warmup_steps=0, clip_over=over, clip_grad_norm=3.0)  # type: ignore[arg-type]
    norms = clip_gradients({"backbone": tensors[:1], "dino_head": tensors[1:]}, optim)
    assert [float(tensor.grad.norm()) for tensor in tensors if tensor.grad is not None] == pytest.approx(expected, rel=1e-5)
    assert set(norms) == ({"all"} if over == "all" else {"backbone", "dino_head"})

"""Reference values come from running DINOv2's released losses (facebookresearch/dinov2, b8931f7) on the same closed-form input."""

from __future__ import annotations

import math
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from pretrain.koleo import Pool, koleo_loss
from pretrain.losses import dino_loss, entropy, ibot_loss, sinkhorn_knopp, softmax_center, update_center


def closed_form(*shape: int, a: float, s: float = 1.0, b: float = 0.11) -> Tensor:
    i = np.arange(math.prod(shape), dtype=np.float64)
    return torch.from_numpy((s * np.sin(a * i + b) * np.cos(0.013 * i)).astype(np.float32)).view(*shape)


TEACHER = closed_form(6, 16, a=0.37, s=0.5)
STUDENT = closed_form(6, 16, a=0.53, s=0.5)


def test_sinkhorn_gives_the_reference_probabilities() -> None:
    q = sinkhorn_knopp(TEACHER, 0.07).probs()
    assert float(q.sum()) == pytest.approx(6.0, rel=1e-6)
    assert float(q.square().sum()) == pytest.approx(0.9164166, rel=1e-5)
    assert q[0, :4].tolist() == pytest.approx([0.2318617, 0.2384175, 0.2153813, 0.1632391], rel=1e-5)


def test_sinkhorn_stays_finite_where_a_plain_exponential_overflows() -> None:
    logits = TEACHER * 8
    assert not bool((logits / 0.04).exp().isfinite().all())
    q = sinkhorn_knopp(logits, 0.04).probs()
    assert bool(q.isfinite().all())
    assert q.sum(dim=1).tolist() == pytest.approx([1.0] * 6, rel=1e-5)  # exponents of 200 are rounded to 1e-5


def test_sinkhorn_accepts_no_rows() -> None:
    assert sinkhorn_knopp(TEACHER[:0], 0.07).probs().shape == (0, 16)


def test_centred_softmax_gives_the_reference_probabilities_before_and_after_the_centre_moves() -> None:
    center = torch.zeros(1, 16)
    before = softmax_center(TEACHER, center, 0.07).probs()
    assert float(before.square().sum()) == pytest.approx(1.3916320, rel=1e-5)
    assert before[0, :4].tolist() == pytest.approx([0.0006765, 0.0083580, 0.0659934, 0.2515976], rel=1e-4)
    center = update_center(center, TEACHER)
    assert float(center.sum()) == pytest.approx(0.0278240, rel=1e-4)
    after = softmax_center(TEACHER, center, 0.07).probs()
    assert float(after.square().sum()) == pytest.approx(1.3347769, rel=1e-5)
    assert after[0, :4].tolist() == pytest.approx([0.0012411, 0.0130429, 0.0861779, 0.2772645], rel=1e-4)


def test_dino_loss_of_one_view_and_of_every_pair_of_views_gives_the_reference_values() -> None:
    q = sinkhorn_knopp(TEACHER, 0.07)
    assert float(dino_loss(STUDENT, q)) == pytest.approx(4.7885332, rel=1e-5)
    assert float(dino_loss(torch.stack(STUDENT.chunk(2)), q.views(2))) == pytest.approx(19.8728771, rel=1e-5)


def test_ibot_loss_gives_the_reference_value_for_four_crops_with_2_0_3_and_1_hidden_patches() -> None:
    weights = torch.tensor([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1.0])
    assert float(ibot_loss(STUDENT, sinkhorn_knopp(TEACHER, 0.07), weights, 4)) == pytest.approx(3.6045341, rel=1e-5)


def test_ibot_loss_of_no_hidden_patch_is_zero_and_has_a_gradient() -> None:
    student = STUDENT[:0].clone().requires_grad_()
    loss = ibot_loss(student, sinkhorn_knopp(TEACHER[:0], 0.07), torch.empty(0), 4)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0
    assert student.grad is not None


def test_koleo_gives_the_reference_value_and_grows_where_two_images_are_equal() -> None:
    features = closed_form(8, 12, a=0.71)
    assert float(koleo_loss(features, over="device").loss) == pytest.approx(0.8577490, rel=1e-5)
    features[1] = features[0]
    assert float(koleo_loss(features, over="device", guard_equal=False).loss) == pytest.approx(4.8792119, rel=1e-5)


def test_entropy_is_zero_for_certainty_and_log_of_the_prototypes_for_ignorance() -> None:
    assert float(entropy(torch.eye(4))) == 0.0
    assert float(entropy(torch.full((2, 8), 1 / 8))) == pytest.approx(math.log(8))


_POOLS: dict[str, tuple[Pool, int]] = {"all": ("all", 32), "groups within a rank": ("group", 2), "groups across ranks": ("group", 3)}


def _koleo_part(rank: int, over: Pool, group_size: int) -> dict[str, Tensor]:
    """Loss and gradient of four of eight images, the first of them in one group with the last of the four before."""
    features = closed_form(8, 12, a=0.71)[4 * rank : 4 * rank + 4].requires_grad_()
    moments = torch.tensor([[0, 1000 * position] for position in range(4 * rank, 4 * rank + 4)])
    koleo = koleo_loss(features, over=over, group_size=group_size, moments=moments, apart_ms=1001).loss
    torch.autograd.backward(koleo)
    assert features.grad is not None
    return {"loss": koleo.detach(), "gradient": features.grad}


def _global_statistics(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    rows = slice(0, 4) if rank == 0 else slice(4, 6)  # uneven, as hidden patches are
    koleo = {name: _koleo_part(rank, over, group_size) for name, (over, group_size) in _POOLS.items()}
    center = update_center(torch.zeros(1, 16), TEACHER[rows])
    result = {"q": sinkhorn_knopp(TEACHER[rows], 0.07).probs(), "center": center, "koleo": koleo}
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_uneven_parts_get_what_one_gets_with_the_whole_batch(tmp_path: pytest.TempPathFactory) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_processes(_global_statistics, args=(port, str(tmp_path)), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    first, second = (torch.load(f"{tmp_path}/{rank}.pt", weights_only=True) for rank in range(2))
    torch.testing.assert_close(torch.cat([first["q"], second["q"]]), sinkhorn_knopp(TEACHER, 0.07).probs())
    torch.testing.assert_close(first["center"], update_center(torch.zeros(1, 16), TEACHER))
    moments = torch.tensor([[0, 1000 * position] for position in range(8)])
    for name, (over, group_size) in _POOLS.items():
        features = closed_form(8, 12, a=0.71).requires_grad_()
        whole = koleo_loss(features, over=over, group_size=group_size, moments=moments, apart_ms=1001).loss
        torch.autograd.backward(whole)
        parts = first["koleo"][name], second["koleo"][name]
        torch.testing.assert_close((parts[0]["loss"] + parts[1]["loss"]) / 2, whole.detach())
        torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]) / 2, features.grad)  # as DDP averages them

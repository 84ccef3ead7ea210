"""The share of the cards' arithmetic that a run uses."""

from __future__ import annotations

import pytest

from pretrain.config import PretrainConfig
from pretrain.flops import hidden_patches, step_flops
from pretrain.model import build_network
from pretrain.parallel import current_worker
from pretrain.utilisation import Work, utilisation, work_of


def test_the_share_is_what_is_done_over_what_the_cards_could_do() -> None:
    # ViT-L/14 of DINOv2's recipe takes about 1.5 TFLOP an image; 330 images a second on an H100 of 989 TFLOP/s
    assert utilisation(Work(1.5e12, 989e12), 330.0) == pytest.approx({"speed/tflops": 495.0, "speed/mfu": 0.5005}, abs=1e-3)
    assert utilisation(Work(2e9, None), 50.0) == {"speed/tflops": 0.1}


def test_an_image_costs_its_part_of_a_step_and_a_cpu_has_no_peak(micro: PretrainConfig) -> None:
    network = build_network(micro, student=True)
    work = work_of(micro, network, current_worker(micro.train, use_gpu=False))
    assert work.flops_per_image * micro.train.batch_size == step_flops(micro, network, hidden_patches=hidden_patches(micro, 4))
    assert work.peak_flops_per_s is None

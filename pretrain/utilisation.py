"""How much of the GPUs' arithmetic a run uses: model FLOPs utilisation (MFU), its own operations over the most the cards do."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pretrain.cards import CARDS
from pretrain.config import PretrainConfig
from pretrain.flops import flops_of_sample
from pretrain.model import Network
from pretrain.parallel import Worker
from pretrain.video.network import VideoNetwork

__all__ = ["Work", "utilisation", "work_of"]


class Work(NamedTuple):
    """What an image costs, and what there is to do it with."""

    flops_per_image: float
    """operations of a step for each of its images, without what is computed again"""
    peak_flops_per_s: float | None
    """of the cards of all workers in bfloat16, by their data sheet; None on a CPU or a card that pretrain/cards.py does not know"""


def work_of(config: PretrainConfig, network: Network | VideoNetwork, worker: Worker) -> Work:
    """Of a run on its workers, which have one kind of card."""
    flops = flops_of_sample(config, network)
    name = torch.cuda.get_device_name(worker.device) if worker.device.type == "cuda" else ""
    card = next((card for card in CARDS.values() if card.is_called(name)), None)
    return Work(flops, card.bf16_tflops * 1e12 * worker.world_size if card else None)


def utilisation(work: Work, images_per_s: float) -> dict[str, float]:
    """TFLOP/s of all workers together; and the share of their peak, if that is known."""
    done = work.flops_per_image * images_per_s
    share = {} if work.peak_flops_per_s is None else {"speed/mfu": done / work.peak_flops_per_s}
    return {"speed/tflops": done / 1e12, **share}

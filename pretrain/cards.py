"""What GPUs do at most, from data sheets, and what share of it this trainer's steps reached where they were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CARDS", "LOADER_CLIPS_PER_S", "LOADER_IMAGES_PER_S", "MEASURED", "Card", "Measured", "card_named", "nearest_measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One kind of GPU."""

    name: str
    bf16_tflops: float
    """dense, without the factor of two for sparsity that data sheets like to give"""
    memory_gb: int
    """memory as sold; a card of 80 shows 85.5e9 bytes, and the difference to 80e9 is left to driver and allocator"""
    words: tuple[str, ...]
    """all of them are in what `torch.cuda.get_device_name` says"""
    source: str

    def is_called(self, device: str) -> bool:
        """Whether torch's name of a device is this card's."""
        return all(word in device for word in self.words)


CARDS = {
    card.name: card
    for card in (
        Card(
            name="H100",
            bf16_tflops=989.0,
            memory_gb=80,
            words=("H100", "HBM3"),
            source="https://www.nvidia.com/en-us/data-center/h100/",
        ),
        Card(name="H200", bf16_tflops=989.0, memory_gb=141, words=("H200",), source="https://www.nvidia.com/en-us/data-center/h200/"),
        Card(name="A100", bf16_tflops=312.0, memory_gb=80, words=("A100", "80GB"), source="https://www.nvidia.com/en-us/data-center/a100/"),
        Card(
            name="A100-40", bf16_tflops=312.0, memory_gb=40, words=("A100", "40GB"), source="https://www.nvidia.com/en-us/data-center/a100/"
        ),
        Card(name="L40S", bf16_tflops=362.0, memory_gb=48, words=("L40S",), source="https://www.nvidia.com/en-us/data-center/l40s/"),
    )
}
"""By the name that `--plan-gpu` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Compiled whole steps on batches that were on the card already."""

    card: str
    dim: int
    """width of the backbone: 384 is ViT-S, 768 B, 1024 L"""
    batch_size: int
    """images on the card"""
    images_per_s: float
    mfu: float
    """model operations a second over the card's `bf16_tflops`"""


_DEVICE_RUNS = (
    ("H100", 384, 128, 970, 0.155),
    ("H100", 384, 256, 1112, 0.178),
    ("H100", 768, 64, 422, 0.219),
    ("H100", 1024, 32, 177, 0.255),
    ("H100", 1024, 64, 222, 0.319),
    ("H200", 384, 128, 1164, 0.186),
    ("H200", 384, 256, 1264, 0.202),
    ("H200", 768, 64, 525, 0.273),
    ("H200", 768, 128, 604, 0.314),
    ("H200", 1024, 32, 190, 0.274),
    ("H200", 1024, 64, 243, 0.351),
)
MEASURED = tuple(Measured(card=card, dim=dim, batch_size=batch, images_per_s=rate, mfu=mfu) for card, dim, batch, rate, mfu in _DEVICE_RUNS)
"""Of tests/device/FIGURES.md, 2026-11-27: one card each, 16 cores, torch 2.11."""
LOADER_CLIPS_PER_S = 4.0
"""Of one core, by its CPU time: recipe endofm on drawn clips of 150 frames at 340x256, 0.10 s to decode and 0.14 s for the views."""
LOADER_IMAGES_PER_S = 24.0
"""Of one loader process among fourteen on 16 cores: 331 images a second together in the H200's run (tests/device/FIGURES.md)."""


def card_named(name: str) -> Card:
    """The card called so.

    Raises:
        ValueError: there is none.
    """
    if name not in CARDS:
        raise ValueError(f"the GPU is {name!r}, whose figures are not known here; give one of {', '.join(CARDS)}")
    return CARDS[name]


def nearest_measured(card: Card, *, dim: int, batch_size: float) -> Measured:
    """The measured step most like one of this width and batch, on this card if it was measured, else on an H100."""
    of_card = [each for each in MEASURED if each.card == card.name] or [each for each in MEASURED if each.card == "H100"]
    return min(of_card, key=lambda each: (abs(math.log(each.dim / dim)), abs(math.log(each.batch_size / batch_size))))

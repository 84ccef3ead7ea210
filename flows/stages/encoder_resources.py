"""What an item asks for that runs an encoder: a share of a GPU if there is one, and memory."""

from __future__ import annotations

from math import floor

from curation.planning import ENCODER_BYTES, PROCESS_BYTES
from flows.runners import Resources, Runner

__all__ = ["encoder_device", "encoder_resources"]

_MOST_PER_GPU = 16
"""Workers that share a GPU; each holds a CUDA context and the model, some 1 to 2 GB."""


def encoder_resources(runner: Runner, device: str) -> Resources:
    """What to ask `runner` for.

    A worker decodes JPEG on one core, which takes longer than the model on a GPU. So the share of a GPU is what lets all cores of its
    machine work for it, within `_MOST_PER_GPU`.

    Args:
        runner: where the items will run.
        device: auto, cpu or cuda; auto asks for a GPU if any machine has one, and cuda in any case.
    """
    shares = [machine.gpus / max(1.0, machine.cpus) for machine in runner.machines() if machine.gpus]
    if device == "cpu" or (device == "auto" and not shares):
        gpus = 0.0
    else:
        share = min(1.0, max(1 / _MOST_PER_GPU, min(shares, default=1.0)))
        gpus = floor(share * 10_000) / 10_000  # Ray counts in these
    return Resources(gpus=gpus, memory_bytes=PROCESS_BYTES + ENCODER_BYTES)


def encoder_device(resources: Resources) -> str:
    """The device on which an item runs its encoder that got these resources."""
    return "cuda" if resources.gpus else "cpu"

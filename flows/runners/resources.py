"""What an item of work asks for, what machines have, and the sentence that says that they do not fit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

__all__ = ["ONE_CPU", "Resources", "check_fits", "this_machine"]

_MOST_KINDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one item asks for, or what one machine has."""

    cpus: float = 1.0
    gpus: float = 0.0
    """several items share one GPU if this is a fraction"""
    memory_bytes: int = 0
    """an item that asks for 0 does not say how much it takes"""

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "memory_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")

    def __str__(self) -> str:
        gpus = f"{self.gpus:g} GPU{'' if self.gpus == 1 else 's'}" if self.gpus else "no GPU"
        return f"{self.cpus:g} CPU{'' if self.cpus == 1 else 's'}, {gpus}, {self.memory_bytes / 1e9:.1f} GB of memory"

    def num_that_fit(self, machine: Resources) -> int:
        """Number of items with this request that the machine can run at once."""
        wanted = ((self.cpus, machine.cpus), (self.gpus, machine.gpus), (self.memory_bytes, machine.memory_bytes))
        return int(min((has / asks for asks, has in wanted if asks), default=machine.cpus) + 1e-6)


ONE_CPU = Resources()


def this_machine() -> Resources:
    """What this process may use; torch counts the GPUs, so call it only where torch is needed anyway."""
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0  # a driver that is too old counts them all the same
    return Resources(cpus=len(os.sched_getaffinity(0)), gpus=num_gpus, memory_bytes=psutil.virtual_memory().total)


def check_fits(request: Resources, machines: Sequence[Resources], *, where: str) -> None:
    """Refuse a request that none of the machines could ever satisfy.

    Raises:
        ValueError: says what was asked for and what `where` has.
    """
    if any(request.num_that_fit(machine) for machine in machines):
        return
    kinds = Counter(map(str, machines)).most_common()
    has = "; ".join(f"{number} x ({kind})" for kind, number in kinds[:_MOST_KINDS]) or "no machine at all"
    more = f"; {len(kinds) - _MOST_KINDS} other kinds of machine" if len(kinds) > _MOST_KINDS else ""
    raise ValueError(f"an item asks for {request}, which no machine has: {where} has {has}{more}; add such a machine, or ask for less")

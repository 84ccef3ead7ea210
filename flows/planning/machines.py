"""Machines that a run is planned for: this one, and one that is described."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import psutil

from pretrain.cards import Card, card_named

__all__ = ["Machine", "described_machine", "this_machine"]

_GPUS = re.compile(r"(?:(\d+)\s*x\s*)?([A-Za-z][\w-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Cores and GPUs that work on one run."""

    cores: int
    card: Card | None = None
    num_gpus: int = 0
    memory_bytes: int | None = None
    """None if it is not known"""

    @property
    def name(self) -> str:
        """In words."""
        gpus = f"{self.num_gpus} x {self.card.name}" if self.card else "no GPU"
        return f"{self.cores} cores, {gpus}"


def this_machine(workers: int | None) -> Machine:
    """The cores that this process may use, or as many as there are to be workers; GPUs are asked of torch later."""
    cores = workers or len(os.sched_getaffinity(0))
    return Machine(cores=cores, memory_bytes=psutil.virtual_memory().total)


def described_machine(cores: int | None, gpus: str | None) -> Machine | None:
    """The machine of --cores and --gpus; None if neither is given.

    Raises:
        ValueError: the GPUs are not written as a number and a known card, such as 8xH100.
    """
    if cores is None and gpus is None:
        return None
    card, num_gpus = None, 0
    if gpus is not None:
        written = _GPUS.fullmatch(gpus.strip())
        if written is None or written[1] == "0":
            raise ValueError(f"gpus is {gpus!r}, expected a number and a card; give for instance 8xH100")
        card, num_gpus = card_named(written[2]), int(written[1] or 1)
    return Machine(cores=cores or len(os.sched_getaffinity(0)), card=card, num_gpus=num_gpus)

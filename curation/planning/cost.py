"""The cost of a stage: its work, the rate at which a machine does it, and upper bounds of memory and disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ENCODER_BYTES", "PROCESS_BYTES", "Cost", "Rate", "Unit"]

PROCESS_BYTES = 400_000_000
"""Memory of a process that has imported the libraries."""
ENCODER_BYTES = 1_300_000_000
"""Memory that an encoder, a batch and the pictures of the next take besides; EfficientNet-Lite0 was measured (bench_growth.py)."""

Unit = Literal["frame", "operation", "row", "byte"]
"""Unit of work: a frame embedded, a floating-point operation of a distance, a row of a table, a byte copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Work, memory and disk of one stage, whatever machine does it."""

    items: int
    unit: Unit
    item_work: float = 1.0
    """units of work an item, beside the fixed seconds of the stage; constant if time is linear in the items"""
    most_cores: float = float("inf")
    """cores that share the work, at most"""
    memory_bytes: int
    """peak of all processes together; DuckDB may take up to 80% of what is free beside that, and spills the rest to disk"""
    kept_bytes: int
    """disk that stays occupied"""
    staged_bytes: int = 0
    """disk that is occupied until the stage ends"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How long a machine takes for a unit of work."""

    unit_s: float
    """on one core"""
    source: str
    """where it is from: a recorded run, a kernel timed here, or an assumption"""

    def seconds(self, cost: Cost, *, num_cores: int) -> float:
        """Seconds beyond the fixed ones."""
        return cost.items * cost.item_work * self.unit_s / min(num_cores, cost.most_cores)

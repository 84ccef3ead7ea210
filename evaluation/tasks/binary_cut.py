"""A yes-or-no question that the grades of a task answer as well, such as remission."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BinaryCut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryCut:
    """Which classes are positive; all others are negative."""

    name: str
    """of the question"""
    positive: tuple[str, ...]
    """class names; the probability of a positive answer is the sum of theirs"""

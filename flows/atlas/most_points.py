"""How many points a map may have; free of heavy imports, so that a wrong number is refused at once."""

from __future__ import annotations

__all__ = ["MAX_POINTS", "check_most"]

MAX_POINTS = 1_000_000


def check_most(most: int) -> None:
    """Raise ValueError unless a map can have that many points."""
    if not 3 <= most <= MAX_POINTS:
        raise ValueError(f"got {most} as the most points, expected 3 to {MAX_POINTS:,}; a page cannot draw more smoothly")

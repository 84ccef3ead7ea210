"""How many points a map may have; free of heavy imports, so that a wrong number is refused at once."""

from __future__ import annotations

__all__ = ["MAX_EXPORTED", "MAX_POINTS", "check_most"]

MAX_POINTS = 1_000_000
MAX_EXPORTED = 100_000
"""Points of an export, which finds the neighbours of every point, and not of those that somebody clicks; time grows with the square."""


def check_most(most: int, *, is_export: bool = False) -> None:
    """Raise ValueError unless a map can have that many points."""
    if not 3 <= most <= MAX_POINTS:
        raise ValueError(f"got {most} as the most points, expected 3 to {MAX_POINTS:,}; a page cannot draw more smoothly")
    if is_export and most > MAX_EXPORTED:
        raise ValueError(
            f"got {most:,} as the most points of an export, expected up to {MAX_EXPORTED:,}: it finds the neighbours of every point; "
            "give fewer, or serve the map, which finds those of points that are clicked"
        )

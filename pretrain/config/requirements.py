"""What settings must hold, and the error if they do not."""

from __future__ import annotations

__all__ = ["require", "require_range"]


def require(holds: bool, message: str) -> None:
    """Raise ValueError with the message unless something holds."""
    if not holds:
        raise ValueError(message)


def require_range(name: str, bounds: tuple[float, float], highest: float) -> None:
    """Raise ValueError unless 0 < low <= high <= highest."""
    low, high = bounds
    require(0 < low <= high <= highest, f"{name} is {low} to {high}; give two numbers with 0 < low <= high <= {highest:g}")

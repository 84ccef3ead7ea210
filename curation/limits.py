"""Checks of settings, for the records of every room."""

from __future__ import annotations

__all__ = ["at_least"]


def at_least(config: object, least: int, *names: str) -> None:
    """Refuse a record in which a value of these names is set and under `least`.

    Raises:
        ValueError: one is.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} {value} is too small; give {least} or more")

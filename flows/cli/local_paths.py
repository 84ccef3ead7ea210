"""A check that every path on the command line is one of this machine, before anything is made."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

from warehouse.local_path import local_path

__all__ = ["refuse_uris"]


def refuse_uris(command: object) -> None:
    """Look through a parsed command and its settings.

    Raises:
        ValueError: an option that takes a path has a URI.
    """
    if not is_dataclass(command):
        return
    for option in fields(command):
        value = getattr(command, option.name)
        if isinstance(value, Path):
            local_path(value, what=f"--{option.name.replace('_', '-')}")
        refuse_uris(value)

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
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                local_path(path, what=f"--{option.name.replace('_', '-')}")
        refuse_uris(value)

"""Names of datasets: the one place that says which are allowed. Free of heavy imports, so that a wrong name is refused at once."""

from __future__ import annotations

import re

__all__ = ["SELECTION_PLACEHOLDER", "check_dataset_name"]

SELECTION_PLACEHOLDER = "{selection}"
"""Stands in a name for the first eight digits of the selection's id."""


def check_dataset_name(name: str) -> None:
    """Refuse a dataset name that cannot be part of every file name on every system; a `{selection}` in it counts as eight digits.

    Raises:
        ValueError: the name is empty, too long, or has other characters.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name.replace(SELECTION_PLACEHOLDER, "0" * 8)):
        raise ValueError(
            f"dataset name {name!r} cannot be part of a file name; use up to 80 letters, digits, dots, hyphens and underscores, "
            "starting with a letter or digit"
        )

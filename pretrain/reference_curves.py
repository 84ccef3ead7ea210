"""The range of losses that our own runs of a recipe had, for whoever asks whether a curve is right: files of `pretrain/curves`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pretrain.closest_recipe import closest_recipe

__all__ = ["reference_ranges"]


def reference_ranges(config: Mapping[str, Any]) -> dict[str, tuple[tuple[int, float, float], ...]]:
    """By loss, (step, least, greatest) of our own runs with a recipe's learning settings, their seed aside.

    Nothing if the settings are no recipe's, or none of our runs had them: we have run no recipe for GPUs to its end.

    Args:
        config: as a run's config.json has it under `config`.
    """
    name, changes = closest_recipe(config)
    file = files("pretrain") / "curves" / f"{name}.json"
    if {change.name for change in changes} - {"train.seed"} or not file.is_file():
        return {}
    found: dict[str, list[list[float]]] = json.loads(file.read_text())["losses"]
    return {loss: tuple((int(step), low, high) for step, low, high in rows) for loss, rows in found.items()}

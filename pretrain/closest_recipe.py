"""Which recipe a run was made from: the settings of a run are recorded, the recipe's name is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pretrain.identity import learning_settings
from pretrain.recipes import RECIPES
from warehouse.store import canonical_json

__all__ = ["ChangedSetting", "closest_recipe"]


class ChangedSetting(NamedTuple):
    """A learning setting that differs from the recipe's."""

    name: str
    """section and field, such as optim.base_lr"""
    value: str
    """the run's value, as JSON"""
    in_recipe: str
    """the recipe's value, as JSON; null if it has none"""


def closest_recipe(config: Mapping[str, Any]) -> tuple[str, tuple[ChangedSetting, ...]]:
    """The recipe that differs from a run's settings in the fewest, and those that differ; of equals the first.

    Args:
        config: as a run's config.json has it under `config`.
    """
    ours = _flat(learning_settings(dict(config)))
    found = {name: _changes(ours, _flat(learning_settings(make()))) for name, make in RECIPES.items()}
    name = min(found, key=lambda each: len(found[each]))
    return name, found[name]


def _changes(ours: dict[str, str], theirs: dict[str, str]) -> tuple[ChangedSetting, ...]:
    names = sorted(ours.keys() | theirs.keys())
    rows = (ChangedSetting(name, ours.get(name, "null"), theirs.get(name, "null")) for name in names)
    return tuple(row for row in rows if row.value != row.in_recipe)


def _flat(sections: dict[str, Any]) -> dict[str, str]:
    """JSON by dotted name; a section that is null, such as a shared head, is one entry."""
    plain: dict[str, Any] = json.loads(canonical_json(sections))
    return {
        f"{section}.{field}" if field else section: json.dumps(value)
        for section, values in plain.items()
        for field, value in (values.items() if isinstance(values, dict) else [("", values)])
    }

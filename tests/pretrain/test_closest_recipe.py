from __future__ import annotations

import json
from dataclasses import replace

from pretrain.closest_recipe import closest_recipe
from pretrain.recipes import recipe
from warehouse.store import canonical_json


def test_each_recipe_is_closest_to_itself_and_changes_are_named() -> None:
    for name in ("demo", "smoke", "small", "vits14", "vitl14-hires"):
        assert closest_recipe(json.loads(canonical_json(recipe(name)))) == (name, ())
    small = recipe("small")
    optim, train = replace(small.optim, base_lr=1e-3), replace(small.train, num_loader_workers=9)
    changed = replace(small, optim=optim, train=train, ibot_head=replace(small.dino_head, num_prototypes=8192))
    name, changes = closest_recipe(json.loads(canonical_json(changed)))
    assert name == "small"
    assert {change.name: (change.value, change.in_recipe) for change in changes} == {
        "optim.base_lr": ("0.001", "0.002"),
        "ibot_head.num_prototypes": ("8192", "null"),  # the recipe has one head for both
        "ibot_head.hidden_dim": ("2048", "null"),
        "ibot_head.bottleneck_dim": ("256", "null"),
    }

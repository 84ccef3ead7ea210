"""The stored range of our own runs, which a report draws behind a run's losses."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from pretrain.recipes import recipe
from pretrain.reference_curves import reference_ranges


def test_the_demo_has_a_range_of_three_seeds_that_goes_from_guessing_to_less() -> None:
    config = recipe("demo")
    ranges = reference_ranges(asdict(replace(config, train=replace(config.train, seed=7))))
    assert set(ranges) == {"DINO cross-entropy", "iBOT cross-entropy", "KoLeo", "entropy of the teacher"}
    for rows in ranges.values():
        assert [step for step, _, _ in rows] == list(range(10, 401, 10))
        assert all(low <= high for _, low, high in rows)
    guess = math.log(config.dino_head.num_prototypes)
    (_, first_low, first_high), (_, _, last_high) = ranges["DINO cross-entropy"][0], ranges["DINO cross-entropy"][-1]
    assert first_low <= guess + 0.01 <= first_high
    assert last_high < 0.8 * guess


def test_other_settings_have_none() -> None:
    config = recipe("demo")
    assert reference_ranges(asdict(replace(config, optim=replace(config.optim, base_lr=1e-3)))) == {}
    assert reference_ranges(asdict(recipe("vits14"))) == {}

"""Which settings decide what a run learns. These are its identity; all others may change from one start to the next."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pretrain.config import PretrainConfig

__all__ = ["MACHINE_SETTINGS", "learning_settings"]

MACHINE_SETTINGS: dict[str, tuple[str, ...]] = {
    "model": ("activation_checkpointing",),
    "train": ("num_loader_workers", "sharding", "accumulate", "compile", "log_every", "max_nonfinite_steps", "max_unreadable"),
    "data": ("shards", "cache_gb", "cache_dir", "augment_on"),
    "checkpoint": (
        "every",
        "keep_best",
        "keep_every",
        "validate_start",
        "guard_drop",
        "guard_patience",
        "validate",
        "validation_cpus",
        "validation_gpus",
    ),
}
"""By section, the settings that no learned weight follows from beyond the rounding of sums."""

_LATER_SETTINGS: dict[str, dict[str, Any]] = {
    "optim": {"freeze_backbone_steps": 0, "lr_scaling": "sqrt", "freeze_last_layer_by": "rate", "clip_over": "part"},
    "data": {"reader": "random"},
    "dino_head": {"norm_last_layer": False},
    "ibot_head": {"norm_last_layer": False},
}
"""By section, settings that came later and the value that changes nothing: with it, runs from before keep their names."""


def learning_settings(config: PretrainConfig | dict[str, Any]) -> dict[str, Any]:
    """The settings that are a run's identity, as nested plain values.

    Args:
        config: of a run, or what its config.json has under `config`.
    """
    sections = asdict(config) if isinstance(config, PretrainConfig) else config
    learned = {section: _learned_from(values, section) for section, values in sections.items()}
    if not sections.get("gram", {}).get("weight"):  # these came later: without them, runs from before keep their names
        learned.pop("gram", None)
    for name in ("data", "video"):
        if not learned.get(name):
            learned.pop(name, None)
    return learned


def _learned_from(values: Any, section: str) -> Any:
    if not isinstance(values, dict):
        return values
    machine, later = MACHINE_SETTINGS.get(section, ()), _LATER_SETTINGS.get(section, {})
    if section == "data" and values.get("reader") != "sequential":
        machine = (*machine, "window_images")  # nothing follows from it
    return {name: value for name, value in values.items() if name not in machine and not (name in later and value == later[name])}

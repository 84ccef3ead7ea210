"""Which settings decide what a run learns. These are its identity; all others may change from one start to the next."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pretrain.config import PretrainConfig

__all__ = ["MACHINE_SETTINGS", "learning_settings"]

MACHINE_SETTINGS: dict[str, tuple[str, ...]] = {
    "model": ("activation_checkpointing",),
    "train": ("num_loader_workers", "sharding", "accumulate", "compile", "log_every", "max_nonfinite_steps", "max_unreadable"),
    "checkpoint": ("every", "keep_best", "keep_every", "validate_start"),
}
"""By section, the settings that no learned weight follows from beyond the rounding of sums."""


def learning_settings(config: PretrainConfig | dict[str, Any]) -> dict[str, Any]:
    """The settings that are a run's identity, as nested plain values.

    Args:
        config: of a run, or what its config.json has under `config`.
    """
    sections = asdict(config) if isinstance(config, PretrainConfig) else config
    return {section: _without(values, MACHINE_SETTINGS.get(section, ())) for section, values in sections.items()}


def _without(values: Any, names: tuple[str, ...]) -> Any:
    return {name: value for name, value in values.items() if name not in names} if isinstance(values, dict) else values

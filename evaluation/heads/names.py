"""Names of all heads and the labels that they serve. Free of torch, so that a misspelt name is refused at once."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from evaluation.config import TaskKind
from warehouse.near_names import near_hint

__all__ = [
    "HEAD_KINDS",
    "NO_PEFT",
    "HeadError",
    "changes_backbone",
    "check_curve_windows",
    "check_head_names",
    "check_peft",
    "chosen_heads",
]

_CLASSES: tuple[TaskKind, ...] = ("classification", "ordinal")

HEAD_KINDS: dict[str, tuple[TaskKind, ...]] = {
    "knn": _CLASSES,
    "linear": _CLASSES,
    "linear_grid": _CLASSES,
    "ordinal": ("ordinal",),
    "finetune": _CLASSES,
    "lora": _CLASSES,
    "linear_segmentation": ("segmentation",),
    "boosted_linear": ("segmentation",),
    "fpn": ("segmentation",),
    "unet": ("segmentation",),
    "dpt": ("segmentation",),
    "finetune_fpn": ("segmentation",),
    "lora_fpn": ("segmentation",),
    "fcos": ("detection",),
}
"""The labels that each head serves; `registry.py` and evaluation.detection have the heads themselves."""

_SHORT = {"linear": "linear_segmentation", "finetune": "finetune_fpn", "lora": "lora_fpn"}
"""what `--heads` may call a mask head"""

_TUNED = ("finetune", "lora", "finetune_fpn", "lora_fpn")

NO_PEFT = "LoRA needs the package peft, which is not installed; run pip install peft, or give --heads finetune"


class HeadError(ValueError):
    """A head that does not exist, does not serve the labels or is not stored; the message says what to give."""


def check_head_names(names: Sequence[str]) -> None:
    """Refuse a name that no head has, whatever the labels.

    Raises:
        HeadError: there is no such head.
    """
    for name in names:
        if name not in HEAD_KINDS:
            raise HeadError(f"head {name!r} is no head; give {', '.join(HEAD_KINDS)}{near_hint(name, HEAD_KINDS)}")


def chosen_heads(asked: Sequence[str] | None, default: Sequence[str], kind: TaskKind) -> tuple[str, ...]:
    """The heads that are trained for labels of a kind, each once.

    Args:
        asked: by `--heads`; the default ones unless given.
        default: those of the task's protocol.
        kind: of the labels.

    Raises:
        HeadError: one does not exist, or does not serve such labels.
    """
    told = default if asked is None else asked
    check_head_names(told)
    names = [_SHORT.get(name, name) if kind == "segmentation" else name for name in told]
    serving = [name for name, served in HEAD_KINDS.items() if kind in served]
    for name in names:
        if name not in serving:
            raise HeadError(f"head {name!r} does not serve {kind} labels; give {', '.join(serving)}")
    return tuple(dict.fromkeys(names))


def changes_backbone(name: str) -> bool:
    """Whether a head is one of those that change the backbone."""
    return name in _TUNED


def check_curve_windows(num_windows: int) -> None:
    """Refuse a few-shot curve of clips that have several windows each.

    Raises:
        HeadError: they do.
    """
    if num_windows > 1:
        raise HeadError(f"few-shot curves count images, and each clip has {num_windows} windows; give --clip-windows 1")


def check_peft(heads: Sequence[str]) -> None:
    """Refuse LoRA without its library before anything is computed.

    Raises:
        HeadError: a head is one of LoRA, and peft is not installed.
    """
    if any(name.startswith("lora") for name in heads) and importlib.util.find_spec("peft") is None:
        raise HeadError(NO_PEFT)

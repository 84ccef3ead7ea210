"""How labels of each kind are scored: the heads, their metrics, and the metric that decides on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.config import TaskKind

__all__ = ["PROTOCOLS", "Protocol", "protocol_fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Each head gives one score for each metric."""

    heads: tuple[str, ...]
    """names of `--heads`: knn, linear and others for classes, linear_segmentation and others for masks, fcos for boxes"""
    metrics: tuple[str, ...]
    """accuracy, balanced_accuracy, macro_f1 and quadratic_weighted_kappa for classes, dice and iou for masks; for
    boxes those that have a line in the terminal, the lake has more"""
    primary: str
    """the metric by which everything is chosen on the validation split, checkpoints included; for masks that is dice, for boxes ap50"""


_CLASSES = ("accuracy", "balanced_accuracy", "macro_f1")

PROTOCOLS: Mapping[TaskKind, Protocol] = {
    "classification": Protocol(heads=("knn", "linear"), metrics=_CLASSES, primary="balanced_accuracy"),
    "ordinal": Protocol(heads=("knn", "linear"), metrics=(*_CLASSES, "quadratic_weighted_kappa"), primary="quadratic_weighted_kappa"),
    "segmentation": Protocol(heads=("linear_segmentation",), metrics=("dice", "iou"), primary="dice"),
    "detection": Protocol(heads=("fcos",), metrics=("ap50", "ap", "f1_iou50", "presence_f1", "lesion_recall"), primary="ap50"),
}


def protocol_fault(protocol: Protocol, kind: TaskKind) -> str | None:
    """What a protocol asks for that labels of this kind have not.

    Of heads only those that serve other labels are known here; whether a name is one is known where heads are, before work begins.
    """
    known = PROTOCOLS["ordinal" if kind == "classification" else kind]
    of_others = {head for other in PROTOCOLS.values() for head in other.heads} - set(known.heads)
    primaries = {"segmentation": ("dice",), "detection": ("ap50",)}.get(kind, known.metrics)
    if not protocol.heads or of_others & set(protocol.heads):
        return f"has the heads {', '.join(protocol.heads) or 'none'}; give such as {' or '.join(known.heads)}"
    for what, given, allowed in (("metrics", protocol.metrics, known.metrics), ("primary metric", (protocol.primary,), primaries)):
        if not given or not set(given) <= set(allowed):
            return f"has the {what} {', '.join(given) or 'none'}; give {' or '.join(allowed)}"
    return None

"""All heads by name, and which of them an evaluation trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from evaluation.config import TaskKind
from evaluation.heads.decoder_training import fit_dpt, fit_fpn, fit_unet, load_decoder
from evaluation.heads.head import FittedClasses, FittedMasks, Head, HeadError, Labelled, MapsWanted, MaskLabelled, Pictures
from evaluation.heads.knn import fit_knn, load_knn
from evaluation.heads.linear import fit_linear, load_linear
from evaluation.heads.linear_grid import fit_grid
from evaluation.heads.ordinal import fit_ordinal, load_ordinal
from evaluation.heads.segment import fit_linear_masks, load_linear_masks
from evaluation.heads.tuned import TunedClasses, TunedMasks, load_tuned_classes, load_tuned_masks
from evaluation.heads.tuning import finetune_classes, finetune_masks, lora_classes, lora_masks

__all__ = ["CLASS_HEADS", "MASK_HEADS", "TUNED_CLASS_HEADS", "TUNED_MASK_HEADS", "changes_backbone", "chosen_heads", "maps_wanted"]

_CLASSES: tuple[TaskKind, ...] = ("classification", "ordinal")
_GRADES: tuple[TaskKind, ...] = ("ordinal",)
_MASKS: tuple[TaskKind, ...] = ("segmentation",)
_BOX_HEADS: dict[str, tuple[TaskKind, ...]] = {"fcos": ("detection",)}
"""they are of evaluation.detection, which knows items"""

ClassHead: TypeAlias = Head[Labelled, FittedClasses]
MaskHead: TypeAlias = Head[MaskLabelled, FittedMasks]
TunedClassHead: TypeAlias = Head[Pictures[Labelled], TunedClasses]
TunedMaskHead: TypeAlias = Head[Pictures[MaskLabelled], TunedMasks]

_CLASS_HEADS: tuple[ClassHead, ...] = (
    Head(name="knn", kinds=_CLASSES, fit=fit_knn, load=load_knn),
    Head(name="linear", kinds=_CLASSES, fit=fit_linear, load=load_linear),
    Head(name="linear_grid", kinds=_CLASSES, fit=fit_grid, load=load_linear),
    Head(name="ordinal", kinds=_GRADES, fit=fit_ordinal, load=load_ordinal),
)

_PYRAMID = MapsWanted(layout="last", num_levels=3)
_PYRAMID_AT_SCALES = replace(_PYRAMID, test_scales=lambda config: config.decoder_test_scales)

_MASK_HEADS: tuple[MaskHead, ...] = (
    Head(name="linear_segmentation", kinds=_MASKS, fit=fit_linear_masks, load=load_linear_masks, maps=MapsWanted(layout="tokens")),
    Head(
        name="boosted_linear",
        kinds=_MASKS,
        fit=fit_linear_masks,
        load=load_linear_masks,
        maps=MapsWanted(
            layout="joined",
            num_levels=4,
            input_scale=lambda config: config.boosted_input_scale,
            test_scales=lambda config: config.boosted_test_scales,
        ),
    ),
    Head(name="fpn", kinds=_MASKS, fit=fit_fpn, load=load_decoder, maps=_PYRAMID_AT_SCALES),
    Head(name="unet", kinds=_MASKS, fit=fit_unet, load=load_decoder, maps=_PYRAMID_AT_SCALES),
    Head(
        name="dpt",
        kinds=_MASKS,
        fit=fit_dpt,
        load=load_decoder,
        maps=MapsWanted(layout="spaced", num_levels=4, is_dense=True, test_scales=lambda config: config.decoder_test_scales),
    ),
)

_TUNED_CLASS_HEADS: tuple[TunedClassHead, ...] = (
    Head(name="finetune", kinds=_CLASSES, fit=finetune_classes, load=load_tuned_classes),
    Head(name="lora", kinds=_CLASSES, fit=lora_classes, load=load_tuned_classes),
)

_TUNED_MASK_HEADS: tuple[TunedMaskHead, ...] = (
    Head(name="finetune_fpn", kinds=_MASKS, fit=finetune_masks, load=load_tuned_masks, maps=_PYRAMID),
    Head(name="lora_fpn", kinds=_MASKS, fit=lora_masks, load=load_tuned_masks, maps=_PYRAMID),
)

CLASS_HEADS: dict[str, ClassHead] = {head.name: head for head in _CLASS_HEADS}
"""Heads that tell classes from features of a frozen backbone."""

MASK_HEADS: dict[str, MaskHead] = {head.name: head for head in _MASK_HEADS}
"""Heads that give masks from maps of a frozen backbone."""

TUNED_CLASS_HEADS: dict[str, TunedClassHead] = {head.name: head for head in _TUNED_CLASS_HEADS}
"""Heads that tell classes, and change the backbone."""

TUNED_MASK_HEADS: dict[str, TunedMaskHead] = {head.name: head for head in _TUNED_MASK_HEADS}
"""Heads that give masks, and change the backbone."""

_SHORT = {"linear": "linear_segmentation", "finetune": "finetune_fpn", "lora": "lora_fpn"}
"""what `--heads` may call a mask head"""


def chosen_heads(asked: Sequence[str] | None, default: Sequence[str], kind: TaskKind) -> tuple[str, ...]:
    """The heads that are trained for labels of a kind, each once.

    Args:
        asked: by `--heads`; the default ones unless given.
        default: those of the task's protocol.
        kind: of the labels.

    Raises:
        HeadError: one does not exist, or does not serve such labels.
    """
    kinds = {name: head.kinds for heads in (CLASS_HEADS, TUNED_CLASS_HEADS) for name, head in heads.items()}
    kinds |= {name: head.kinds for heads in (MASK_HEADS, TUNED_MASK_HEADS) for name, head in heads.items()} | _BOX_HEADS
    serving = [name for name, served in kinds.items() if kind in served]
    names = [_SHORT.get(name, name) if kind == "segmentation" else name for name in (default if asked is None else asked)]
    for name in names:
        if name not in serving:
            what = "is no head" if name not in kinds else f"does not serve {kind} labels"
            raise HeadError(f"head {name!r} {what}; give {', '.join(serving)}")
    return tuple(dict.fromkeys(names))


def maps_wanted(name: str) -> MapsWanted | None:
    """The maps that a head of masks reads; None for a name that is none."""
    head = MASK_HEADS.get(name) or TUNED_MASK_HEADS.get(name)
    return head.maps if head is not None else None


def changes_backbone(name: str) -> bool:
    """Whether a head is one of those that change the backbone."""
    return name in TUNED_CLASS_HEADS or name in TUNED_MASK_HEADS

"""All heads by name; `names.py` says which labels each serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from evaluation.heads.decoder_training import fit_dpt, fit_fpn, fit_unet, load_decoder
from evaluation.heads.head import FittedClasses, FittedMasks, Head, Labelled, MapsWanted, MaskLabelled, Pictures
from evaluation.heads.knn import fit_knn, load_knn
from evaluation.heads.linear import fit_linear, load_linear
from evaluation.heads.linear_grid import fit_grid
from evaluation.heads.ordinal import fit_ordinal, load_ordinal
from evaluation.heads.segment import fit_linear_masks, load_linear_masks
from evaluation.heads.tuned import TunedClasses, TunedMasks, load_tuned_classes, load_tuned_masks
from evaluation.heads.tuning import finetune_classes, finetune_masks, lora_classes, lora_masks

__all__ = ["CLASS_HEADS", "MASK_HEADS", "TUNED_CLASS_HEADS", "TUNED_MASK_HEADS", "maps_wanted"]

ClassHead: TypeAlias = Head[Labelled, FittedClasses]
MaskHead: TypeAlias = Head[MaskLabelled, FittedMasks]
TunedClassHead: TypeAlias = Head[Pictures[Labelled], TunedClasses]
TunedMaskHead: TypeAlias = Head[Pictures[MaskLabelled], TunedMasks]

_CLASS_HEADS: tuple[ClassHead, ...] = (
    Head(name="knn", fit=fit_knn, load=load_knn),
    Head(name="linear", fit=fit_linear, load=load_linear),
    Head(name="linear_grid", fit=fit_grid, load=load_linear),
    Head(name="ordinal", fit=fit_ordinal, load=load_ordinal),
)

_PYRAMID = MapsWanted(layout="last", num_levels=3)
_PYRAMID_AT_SCALES = replace(_PYRAMID, test_scales=lambda config: config.decoder_test_scales)

_MASK_HEADS: tuple[MaskHead, ...] = (
    Head(name="linear_segmentation", fit=fit_linear_masks, load=load_linear_masks, maps=MapsWanted(layout="tokens")),
    Head(
        name="boosted_linear",
        fit=fit_linear_masks,
        load=load_linear_masks,
        maps=MapsWanted(
            layout="joined",
            num_levels=4,
            input_scale=lambda config: config.boosted_input_scale,
            test_scales=lambda config: config.boosted_test_scales,
        ),
    ),
    Head(name="fpn", fit=fit_fpn, load=load_decoder, maps=_PYRAMID_AT_SCALES),
    Head(name="unet", fit=fit_unet, load=load_decoder, maps=_PYRAMID_AT_SCALES),
    Head(
        name="dpt",
        fit=fit_dpt,
        load=load_decoder,
        maps=MapsWanted(layout="spaced", num_levels=4, is_dense=True, test_scales=lambda config: config.decoder_test_scales),
    ),
)

_TUNED_CLASS_HEADS: tuple[TunedClassHead, ...] = (
    Head(name="finetune", fit=finetune_classes, load=load_tuned_classes),
    Head(name="lora", fit=lora_classes, load=load_tuned_classes),
)

_TUNED_MASK_HEADS: tuple[TunedMaskHead, ...] = (
    Head(name="finetune_fpn", fit=finetune_masks, load=load_tuned_masks, maps=_PYRAMID),
    Head(name="lora_fpn", fit=lora_masks, load=load_tuned_masks, maps=_PYRAMID),
)

CLASS_HEADS: dict[str, ClassHead] = {head.name: head for head in _CLASS_HEADS}
"""Heads that tell classes from features of a frozen backbone."""

MASK_HEADS: dict[str, MaskHead] = {head.name: head for head in _MASK_HEADS}
"""Heads that give masks from maps of a frozen backbone."""

TUNED_CLASS_HEADS: dict[str, TunedClassHead] = {head.name: head for head in _TUNED_CLASS_HEADS}
"""Heads that tell classes, and change the backbone."""

TUNED_MASK_HEADS: dict[str, TunedMaskHead] = {head.name: head for head in _TUNED_MASK_HEADS}
"""Heads that give masks, and change the backbone."""


def maps_wanted(name: str) -> MapsWanted | None:
    """The maps that a head of masks reads; None for a name that is none."""
    head = MASK_HEADS.get(name) or TUNED_MASK_HEADS.get(name)
    return head.maps if head is not None else None

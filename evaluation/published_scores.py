"""What publications report on the benchmarks, to stand beside measured scores and never among them: other splits, other training.

A figure is here only if its source was read; what the source does not say is said. Figures carry over, not their conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedScore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedScore:
    """One figure of one publication."""

    task: str
    """the task of ours that is of the same images"""
    model: str
    metric: str
    value: float
    protocol: str
    """how it was measured, as far as the source says"""
    source: str


_DUCK_NET = "RazvanDu/DUCK-Net, README"
_OWN_SPLIT = "trained whole; random split of the authors"
_BY_IMAGE = "trained whole; split by image, so frames of a sequence stand on both sides"
_CROSS = "trained whole on Kvasir-SEG, tested on CVC-ClinicDB"
_UNREAD = "trained whole; the split could not be read"

PUBLISHED: tuple[PublishedScore, ...] = tuple(
    PublishedScore(task=task, model=model, metric=metric, value=value, protocol=protocol, source=source)
    for task, model, metric, value, protocol, source in (
        ("kvasir_seg", "DUCK-Net-34", "dice", 0.9502, _OWN_SPLIT, _DUCK_NET),
        ("kvasir_seg", "DUCK-Net-34", "iou", 0.9051, _OWN_SPLIT, _DUCK_NET),
        ("kvasir_seg", "FCN-Transformer", "dice", 0.9220, _OWN_SPLIT, _DUCK_NET),
        ("kvasir_seg", "PraNet", "dice", 0.9094, _OWN_SPLIT, _DUCK_NET),
        ("kvasir_seg", "U-Net", "dice", 0.8655, _OWN_SPLIT, _DUCK_NET),
        ("cvc_clinicdb", "DUCK-Net-34", "dice", 0.9478, _BY_IMAGE, _DUCK_NET),
        ("cvc_clinicdb", "DUCK-Net-34", "iou", 0.9009, _BY_IMAGE, _DUCK_NET),
        ("cvc_clinicdb", "FCN-Transformer", "dice", 0.9327, _BY_IMAGE, _DUCK_NET),
        ("cvc_clinicdb", "PraNet", "dice", 0.8742, _BY_IMAGE, _DUCK_NET),
        ("kvasir_seg_to_cvc", "FCN-Transformer", "dice", 0.8314, _CROSS, _DUCK_NET),
        ("kvasir_seg_to_cvc", "FCN-Transformer", "iou", 0.7114, _CROSS, _DUCK_NET),
        ("kvasir_seg_to_cvc", "DUCK-Net-17", "dice", 0.8014, _CROSS, _DUCK_NET),
        ("kvasir_seg_to_cvc", "PraNet", "dice", 0.7744, _CROSS, _DUCK_NET),
        ("limuc", "CLoE, ConvNeXt-Tiny", "quadratic_weighted_kappa", 0.894, _UNREAD, "summary of the CLoE abstract on newx.sg"),
        ("limuc", "CLoE, ConvNeXt-Tiny", "accuracy", 0.825, _UNREAD, "summary of the CLoE abstract on newx.sg"),
        ("limuc", "ACD2W-InceptionNeXt", "quadratic_weighted_kappa", 0.872, "trained whole; by frame", "biocloudy.com 8137333"),
        ("limuc", "ACD2W-InceptionNeXt", "accuracy", 0.797, "trained whole; by frame", "biocloudy.com 8137333"),
    )
)

"""Weights as their publishers give them, written as a folder that timm loads: to be scored, not to be trained on.

Vision transformers take the way of `--init`: each tensor is placed or refused. Residual networks have one naming everywhere, torchvision's,
which timm kept; GastroNet's ResNet-50 is such a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor

from pretrain.checkpoint import write_backbone
from pretrain.continuation import continued
from pretrain.init_layout import read_tensors
from pretrain.init_source import InitSource
from pretrain.init_weights import fit_init
from pretrain.recipes import recipe
from warehouse.store import atomic_file, write_json

__all__ = ["export_published"]

_RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
"""timm's name by the blocks of each stage, and whether they are bottlenecks"""
_RESNET_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")
_CLASSIFIERS = ("fc.", "head.", "classifier.")


def export_published(source: InitSource, folder: Path) -> str:
    """Write a backbone for `timm.create_model("local-dir:<folder>", pretrained=True, num_classes=0)`.

    Position embeddings come to the grid of 224 pixels; features at another size are taken as timm resamples them from there.

    Args:
        source: the weights.
        folder: is made.

    Returns:
        What became of the tensors, for a person.

    Raises:
        ValueError: a tensor has no place, or the network has a part without weights; the message calls the weights `--init`.
    """
    tensors: Mapping[str, Tensor] = read_tensors(source.weights, told=source.told)[0] if source.architecture is None else {}
    if any(_RESNET_BLOCK.match(name) for name in tensors):
        return _export_resnet(source, tensors, folder)
    config = continued("vits14", recipe("vits14"), source)
    fitted = fit_init(source, config)
    missing = [name for name in fitted.report.fresh if name.startswith("backbone.")]
    if missing:
        raise ValueError(f"--init {source.told} lacks {', '.join(missing)} of {config.model.architecture}; its features would be random")
    backbone = {name.removeprefix("backbone."): value for name, value in fitted.tensors.items() if name.startswith("backbone.")}
    write_backbone(folder, backbone, config, card={"weights": dict(fitted.report.files), "told": source.told})
    return fitted.report.sentence()


def _export_resnet(source: InitSource, tensors: Mapping[str, Tensor], folder: Path) -> str:
    backbone = {name: value for name, value in tensors.items() if not name.startswith(_CLASSIFIERS)}
    architecture = _resnet(backbone)
    if architecture is None:
        raise ValueError(f"--init {source.told} is a residual network of no size that timm has; give its timm export")
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in timm.create_model(architecture, num_classes=0).state_dict().items()}
    differing = sorted({*wanted} ^ {*backbone} | {name for name in {*wanted} & {*backbone} if wanted[name] != backbone[name].shape})
    if differing:
        raise ValueError(f"--init {source.told} is no {architecture} of torchvision: {', '.join(differing[:3])} differ; give timm's export")
    published: dict[str, Any] = {
        "num_classes": 0,
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "classifier": "fc",
    }
    write_json(folder / "config.json", {"architecture": architecture, "num_classes": 0, "pretrained_cfg": published})
    with atomic_file(folder / "model.safetensors") as file:
        file.write(safetensors.torch.save({name: value.contiguous() for name, value in backbone.items()}, metadata={"format": "pt"}))
    left_out = len(tensors) - len(backbone)
    return f"--init {source.told}: {len(backbone)} tensors of {architecture} loaded, {left_out} of a classifier left out"


def _resnet(tensors: Mapping[str, Tensor]) -> str | None:
    blocks = [(int(found[1]), int(found[2])) for found in map(_RESNET_BLOCK.match, tensors) if found]
    depths = tuple(1 + max((block for stage, block in blocks if stage == number), default=-1) for number in (1, 2, 3, 4))
    return _RESNETS.get((depths, "layer1.0.conv3.weight" in tensors))

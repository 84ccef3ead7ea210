"""Encoders that timm builds: its models by name, and local folders such as our own exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import timm
import torch
from timm.data.config import resolve_model_data_config

from curation.embedding.encoder_name import LOCAL_PREFIX, OFFLINE_ENCODER, local_folder, unknown_encoder
from curation.embedding.encoder_source import EncoderSource, Preprocessing
from warehouse.store import read_json

__all__ = ["timm_source"]


def timm_source(name: str, image_size: int | None, *, allow_download: bool) -> EncoderSource:
    """A timm model by its name or its folder; timm tells architecture and preprocessing of a model alone, so that is made at once.

    Raises:
        ValueError: the name is unknown, its weights are not on this machine, or the folder is not a timm export.
    """
    folder = local_folder(name)
    module = _timm_module(f"{LOCAL_PREFIX}{folder}", image_size) if folder else _hub_module(name, image_size, allow_download)
    return EncoderSource(
        name=folder.name if folder else name,
        architecture=str(module.pretrained_cfg["architecture"]),
        preprocessing=_timm_preprocessing(module, image_size),
        load=lambda: module,
        is_timm=True,
    )


def _hub_module(name: str, image_size: int | None, allow_download: bool) -> Any:
    if not timm.is_model(name.split(".")[0]):
        known = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        raise unknown_encoder(name, f"; timm knows {', '.join(known)}" if known else "")
    if allow_download:
        return _timm_module(name, image_size)
    refused = (
        f"the weights of encoder {name!r} are not on this machine; "
        "add --allow-download to `endoforge embed`, `endoforge evaluate` or `endoforge remove-out-of-body` "
        f"(to `endoforge run` --embed.allow-download), or use {OFFLINE_ENCODER} or a local folder"
    )
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.hf_hub_id:  # timm would fetch it by URL, which the hub's offline switch does not stop
        raise ValueError(refused)
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = True  # the environment variable is read only once, at import
    try:
        return _timm_module(name, image_size)
    except (OSError, RuntimeError) as error:
        raise ValueError(refused) from error
    finally:
        hub.HF_HUB_OFFLINE = before


def _timm_module(name: str, image_size: int | None) -> Any:
    options: dict[str, Any] = {"num_classes": 0}
    if image_size is not None and _has_fixed_input(name):
        options["img_size"] = image_size
    return timm.create_model(name, pretrained=True, **options)


def _has_fixed_input(name: str) -> bool:
    """Whether the architecture must be told its input size (vision transformers), rather than taking any."""
    if name.startswith(LOCAL_PREFIX):
        local = read_json(Path(name.removeprefix(LOCAL_PREFIX)) / "config.json")
        return bool(local.get("pretrained_cfg", local).get("fixed_input_size", False))
    cfg = timm.get_pretrained_cfg(name)
    return bool(cfg is not None and cfg.fixed_input_size)


def _timm_preprocessing(module: torch.nn.Module, image_size: int | None) -> Preprocessing:
    data: dict[str, Any] = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    return Preprocessing(
        image_size=image_size or int(data["input_size"][-1]),
        mean=tuple(float(value) for value in data["mean"]),
        std=tuple(float(value) for value in data["std"]),
        interpolation=str(data["interpolation"]),
        crop_pct=float(data["crop_pct"]),
        crop_mode=str(data["crop_mode"]),
    )

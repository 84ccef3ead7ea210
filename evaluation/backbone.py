"""Load an exported backbone and take frozen features from it: CLS (or pooled) vectors, mean patch tokens, patch-token maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from evaluation.images import item_image, stream
from evaluation.onnx_cnn import FEWEST_IMAGES, faster_cnn
from evaluation.tasks import Item
from warehouse.store import file_sha256

__all__ = [
    "Backbone",
    "BackboneError",
    "ModelRef",
    "VectorNetwork",
    "config_id",
    "features_of",
    "load_backbone",
    "many_images",
    "own_image_size",
    "set_size",
    "token_batches",
    "vectors_and_tokens",
]

NUM_BLOCKS = 4
"""blocks (stages of a CNN) that the wide feature sets concatenate, as in DINOv2"""

Floats = npt.NDArray[np.float32]
Run = Callable[[torch.Tensor], tuple[list[torch.Tensor], torch.Tensor]]
"""gives `vectors_and_tokens` of prepared images"""


class BackboneError(ValueError):
    """A folder that is not a usable exported backbone; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorNetwork:
    """A network that timm cannot build: it gives one vector an image, and no patch tokens."""

    module: Any
    """maps (n, 3, image_size, image_size) float32 to (n, dim)"""
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A backbone to evaluate."""

    model_id: str
    """checkpoint id, or the encoder id of a baseline"""
    label: str
    """what a person calls it"""
    path: str
    """folder with config.json and model.safetensors, as timm writes them"""
    weights: Literal["trained", "random"] = "trained"
    """random: the same architecture as it is initialised, for a baseline row"""
    draw: int = 0
    """number of the draw of random weights, which has the seed `seed + draw`"""
    network: Callable[[str], VectorNetwork] | None = None
    """gives, on a device (auto, cpu or cuda), a network that timm cannot build, in place of `path`; it keeps its own image size"""
    clip_network: Callable[[str, str, int], Any] | None = None
    """gives a video network, an `evaluation.video.ClipBackbone`, from (device, weights, seed), in place of `path`"""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen model with the preprocessing it was trained with."""

    module: Any
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    device: torch.device
    has_tokens: bool = True
    """whether it is timm's, with blocks and patch tokens; else there is one vector an image"""
    is_changed: bool = False
    """whether a head changed its weights, so that they are not those of its file"""
    own_size: int | None = None
    """side in pixels that its weights were saved for; `image_size` where it takes no other"""

    @property
    def batch_size(self) -> int:
        """Images per forward pass that suit the device."""
        return 64 if self.device.type == "cuda" else 8

    @property
    def transform(self) -> dict[str, object]:
        """What is done to an image before the model, for cache keys and score details."""
        return {"resize": self.image_size, "interpolation": self.interpolation, "mean": self.mean, "std": self.std}

    def prepared(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """[B, H, W, 3] uint8 RGB to normalised [B, 3, H, W] float32 on the model's device."""
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (tensor - mean) / std


def config_id(model: ModelRef) -> str:
    """Id of the folder's config.json, which has architecture and preprocessing; empty for a network without a folder.

    Equal weights with another mean or interpolation give other features, so scores, heads and caches hold it.
    """
    path = Path(model.path, "config.json")
    return file_sha256(path)[:16] if model.path and path.is_file() else ""


def load_backbone(model: ModelRef, *, device: str = "auto", image_size: int | None = None, seed: int = 0) -> Backbone:
    """Build the architecture that config.json names and load model.safetensors into it; no other weight format is opened.

    Args:
        model: the folder, and whether its weights or random ones are wanted.
        device: auto, cpu or cuda.
        image_size: side in pixels, of which the network gets the nearest multiple of its patch size; the model's own where not given.
            Position embeddings are resampled.
        seed: of random weights.

    Raises:
        BackboneError: a file is missing or damaged, the architecture is unknown to timm, the weights do not fit, or the size does not.
    """
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if model.network is not None:
        found = model.network(device)
        return Backbone(found.module, found.image_size, found.mean, found.std, found.interpolation, chosen, has_tokens=False)
    config = _read_config(Path(model.path))
    pretrained_cfg = config.get("pretrained_cfg", config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + model.draw)
        module, own_size = _built(config, model.path)
    if model.weights == "trained":
        _load_weights(module, Path(model.path), classifier=pretrained_cfg.get("classifier"))
    size = _fitting(module, image_size or own_size)
    if size != own_size:
        set_size(module, size)
    module.eval().requires_grad_(False).to(chosen)
    if not _is_transformer(module):
        module.to(memory_format=torch.channels_last)
    mean = tuple(map(float, pretrained_cfg.get("mean", (0.485, 0.456, 0.406))))
    std = tuple(map(float, pretrained_cfg.get("std", (0.229, 0.224, 0.225))))
    return Backbone(module, size, mean, std, str(pretrained_cfg.get("interpolation", "bicubic")), chosen, own_size=own_size)


def own_image_size(model: ModelRef) -> int:
    """Side in pixels of the images that a model's weights were saved for, from its config.json or its network; no weights are read.

    Raises:
        BackboneError: config.json is missing or damaged, or the architecture is unknown to timm.
    """
    if model.network is not None:
        return model.network("cpu").image_size
    with torch.device("meta"):
        return _built(_read_config(Path(model.path)), model.path)[1]


def set_size(module: Any, size: int) -> None:
    """Let a network of timm's take images of another size, in place; position embeddings are resampled. Convolutions take any size.

    Raises:
        BackboneError: it cannot take that size.
    """
    if not hasattr(module, "set_input_size"):
        return
    try:
        module.set_input_size(img_size=(size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        name = module.pretrained_cfg.get("architecture", type(module).__name__)
        raise BackboneError(f"{name} cannot take {size} px images ({error}); use a multiple of its patch size") from error


def features_of(backbone: Backbone, pixels: npt.NDArray[np.uint8], *, run: Run | None = None) -> dict[str, Floats]:
    """Feature sets of images [B, H, W, 3] uint8: `last` and `last4`, and, given a CLS token, both with the mean patch token too (`+mean`).

    A transformer gives the CLS token of its last and last four blocks after the final norm; a CNN gives its pooled feature, and that with
    the pooled maps of its last four stages; a network without tokens has `last` alone, its vector. [B, D] each. `run` of `many_images` may
    stand for the network.
    """
    if not backbone.has_tokens:
        with torch.inference_mode():
            return {"last": backbone.module(backbone.prepared(pixels)).float().cpu().numpy()}
    with torch.inference_mode():
        vectors, tokens = (run or _run_of(backbone))(backbone.prepared(pixels))
    sets = {"last": vectors[-1], "last4": torch.cat(vectors, 1)}
    if getattr(backbone.module, "num_prefix_tokens", 0):  # without a CLS token the vectors are mean tokens already
        mean_patch = tokens.mean((2, 3))
        sets |= {f"{name}+mean": torch.cat([vector, mean_patch], 1) for name, vector in sets.items()}
    return {name: value.float().cpu().numpy() for name, value in sets.items()}


def _run_of(backbone: Backbone) -> Run:
    return partial(vectors_and_tokens, backbone.module, num_blocks=NUM_BLOCKS)


def many_images(backbone: Backbone, num_images: int) -> Run:
    """What gives vectors and tokens of so many images in the least time: of a CNN on a CPU that is ONNX Runtime."""
    run = _run_of(backbone)
    if num_images < FEWEST_IMAGES or backbone.device.type != "cpu" or not backbone.has_tokens or _is_transformer(backbone.module):
        return run
    return faster_cnn(partial(vectors_and_tokens, num_blocks=NUM_BLOCKS), backbone.module, backbone.image_size) or run


def token_batches(
    backbone: Backbone, items: Sequence[Item], *, batch_size: int | None, num_workers: int
) -> Iterator[npt.NDArray[np.float16]]:
    """Patch-token maps of items, [B, D, h, w] float16 a batch, in order; a CNN's are its last two stages on the finer one's grid.

    Raises:
        BackboneError: the network gives none.
    """
    if not backbone.has_tokens:
        raise BackboneError("the network gives one vector an image and no patch tokens, so masks cannot be scored; use a timm model")
    load = partial(item_image, size=backbone.image_size, interpolation=backbone.interpolation)
    run = many_images(backbone, len(items))
    for pixels in stream(load, items, batch_size=batch_size or backbone.batch_size, num_workers=num_workers):
        with torch.inference_mode():
            _, tokens = run(backbone.prepared(pixels))
        yield tokens.clamp(-65504, 65504).half().cpu().numpy()


def vectors_and_tokens(module: Any, images: torch.Tensor, *, num_blocks: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Vectors [B, D_i] of the last blocks, last one last, and the patch-token map [B, D, h, w]: for a CNN its last two stages.

    Args:
        module: a network of timm's.
        images: [B, 3, H, W], normalised.
        num_blocks: how many of the last blocks or stages give a vector.
    """
    if _is_transformer(module):
        depth = min(num_blocks, len(module.blocks))
        outputs = module.forward_intermediates(images, indices=depth, return_prefix_tokens=True, norm=True, intermediates_only=True)
        maps, prefixes = zip(*outputs, strict=True)
        if module.num_prefix_tokens:
            return [prefix[:, 0] for prefix in prefixes], maps[-1]
        return [tokens.mean((2, 3)) for tokens in maps], maps[-1]
    final, stages = module.forward_intermediates(images, indices=min(num_blocks, len(module.feature_info)))
    vectors = [*(stage.mean((2, 3)) for stage in stages), module.forward_head(final, pre_logits=True)]
    fine = stages[-2] if len(stages) > 1 else stages[-1]  # a CNN's last stage is twice as coarse as a transformer's patches
    coarse = F.interpolate(stages[-1], fine.shape[2:], mode="bilinear", align_corners=False)
    return vectors, torch.cat([fine, coarse], 1) if len(stages) > 1 else fine


def _built(config: dict[str, Any], path: str) -> tuple[Any, int]:
    """The network of a config.json, and the side in pixels that its weights were saved for."""
    pretrained_cfg = config.get("pretrained_cfg", config)
    own_size = int((pretrained_cfg.get("input_size") or (3, 224, 224))[-1])
    arguments = {**config.get("model_args", {}), "num_classes": 0}
    if pretrained_cfg.get("fixed_input_size"):  # position embeddings were saved for the size the model ran at
        arguments.setdefault("img_size", own_size)
    try:
        module: Any = timm.create_model(config["architecture"], pretrained=False, **arguments)
    except (RuntimeError, TypeError) as error:
        raise BackboneError(f"{path!r} names a model that this timm cannot build ({error}); export it again") from error
    built_for = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return module, int(built_for[0]) if built_for is not None else own_size


def _fitting(module: Any, size: int) -> int:
    """The nearest multiple of a transformer's patch size; any size of other networks."""
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    return size if patch is None else max(1, round(size / int(patch[0]))) * int(patch[0])


def _is_transformer(module: Any) -> bool:
    return getattr(module, "num_prefix_tokens", None) is not None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BackboneError(f"{str(folder)!r} has no config.json; give a folder that `endoforge pretrain` or timm exported") from error
    except (OSError, ValueError) as error:
        raise BackboneError(f"{str(folder)!r} has an unreadable config.json ({error}); export the model again") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise BackboneError(f"config.json of {str(folder)!r} names no architecture; export the model again with timm")
    return config


def _load_weights(module: torch.nn.Module, folder: Path, *, classifier: object) -> None:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BackboneError(f"{str(folder)!r} has no model.safetensors; other weight formats are not opened because they can run code")
    try:
        state = load_file(path)
    except Exception as error:  # safetensors raises its own undocumented class for a damaged file
        raise BackboneError(f"{str(path)!r} is not a whole safetensors file ({error}); export the model again") from error
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier) if isinstance(classifier, (list, tuple)) else ()
    wanted = module.state_dict()
    state = {name: value for name, value in state.items() if name in wanted or not name.startswith(tuple(f"{head}." for head in heads))}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2]
        raise BackboneError(
            f"the weights of {str(folder)!r} do not fit its config.json ({''.join(first).strip()}); export it again"
        ) from error

"""Training of a backbone with its head: AdamW, mirrored pictures, and the learning rate and epoch that are best on the validation split.

Training starts from the head that is best on the frozen backbone (Kumar et al. 2022), so that a random head does not spoil the weights.
Statistics of batch normalisation stay as they are: batches are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from evaluation.heads.backbone_change import BackboneChange, ChangeKind
from evaluation.heads.choice import validation_score
from evaluation.heads.decoder_training import fit_fpn, num_parameters
from evaluation.heads.head import HeadSettings, Labelled, MaskLabelled, Pictures, Trunk
from evaluation.heads.linear import LinearProbe, fit_linear
from evaluation.heads.linear_grid import class_weights
from evaluation.heads.low_rank import adapters, add_adapters
from evaluation.heads.mask_training import dice_sum, mask_loss, upsampled
from evaluation.heads.tuned import TunedClasses, TunedMasks

__all__ = ["finetune_classes", "finetune_masks", "lora_classes", "lora_masks"]

FEATURES = "last"
"""the feature set that the classifier reads"""

_HEAD_RATE = 1e-3
_WEIGHT_DECAY = 1e-3

Batch = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Best:
    """What was best on the validation split."""

    change: BackboneChange
    head: dict[str, torch.Tensor]
    score: float
    details: dict[str, str]


def finetune_classes(train: Pictures[Labelled], val: Pictures[Labelled], settings: HeadSettings) -> TunedClasses:
    """Train all weights with a linear classifier."""
    return _classes("full", train, val, settings)


def lora_classes(train: Pictures[Labelled], val: Pictures[Labelled], settings: HeadSettings) -> TunedClasses:
    """Train low-rank adapters with a linear classifier."""
    return _classes("lora", train, val, settings)


def finetune_masks(train: Pictures[MaskLabelled], val: Pictures[MaskLabelled], settings: HeadSettings) -> TunedMasks:
    """Train all weights with a feature pyramid."""
    return _masks("full", train, val, settings)


def lora_masks(train: Pictures[MaskLabelled], val: Pictures[MaskLabelled], settings: HeadSettings) -> TunedMasks:
    """Train low-rank adapters with a feature pyramid."""
    return _masks("lora", train, val, settings)


def _classes(kind: ChangeKind, train: Pictures[Labelled], val: Pictures[Labelled], settings: HeadSettings) -> TunedClasses:
    device, trunk = settings.device, _trunk(settings)
    parts = [replace(part.frozen, features={FEATURES: part.frozen.features[FEATURES]}) for part in (train, val)]
    start = fit_linear(parts[0], parts[1], settings)
    mean, scale = (torch.from_numpy(values.astype(np.float32)).to(device) for values in (start.scaler.mean, start.scaler.scale))
    labels = torch.from_numpy(train.frozen.labels).to(device)
    balanced = settings.config.class_weight == "balanced"
    emphasis = class_weights(train.frozen.labels, settings.num_classes) if balanced else np.ones(len(train), np.float32)
    weight_of = torch.from_numpy(emphasis).to(device)

    def first_head() -> nn.Module:
        head = nn.Linear(start.weight.shape[1], settings.num_classes)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(np.asarray(start.weight, np.float32)))
            # a class without training images has minus infinity, of which no step is taken
            head.bias.copy_(torch.from_numpy(np.maximum(np.asarray(start.bias, np.float32), -30.0)))
        return head

    def logits(module: nn.Module, head: nn.Module, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = head((trunk.read(module, images)[0] - mean) / scale)
        return found

    def loss(module: nn.Module, head: nn.Module, images: torch.Tensor, index: Batch, axes: list[int]) -> torch.Tensor:
        found = F.cross_entropy(logits(module, head, images), labels[index], reduction="none")
        return (found * weight_of[index]).mean()

    def score(module: nn.Module, head: nn.Module) -> float:
        predicted = np.concatenate(
            [logits(module, head, images).argmax(1).cpu().numpy() for images, _ in _batches(trunk, val.pixels, settings)]
        )
        return validation_score(val.frozen.labels, predicted.astype(np.int64), num_classes=settings.num_classes, metric=settings.metric)

    best = _tuned(kind, train.pixels, trunk, first_head, loss, score, settings)
    weight, bias = (best.head[name].numpy() for name in ("weight", "bias"))
    details = {**best.details, "start_C": f"{start.regularization:g}", f"val_{settings.metric}": f"{best.score:.4f}"}
    return TunedClasses(best.change, LinearProbe(FEATURES, 0.0, best.score, start.num_tried, start.scaler, weight, bias, details))


def _masks(kind: ChangeKind, train: Pictures[MaskLabelled], val: Pictures[MaskLabelled], settings: HeadSettings) -> TunedMasks:
    device, trunk = settings.device, _trunk(settings)
    start = fit_fpn(train.frozen, val.frozen, settings)

    def first_head() -> nn.Module:
        return deepcopy(start.module)

    def logits(module: nn.Module, head: nn.Module, images: torch.Tensor) -> torch.Tensor:
        levels = zip(trunk.read(module, images), start.statistics, strict=True)
        found: torch.Tensor = head([(level - mean) * inverse_std for level, (mean, inverse_std) in levels])
        return found

    def loss(module: nn.Module, head: nn.Module, images: torch.Tensor, index: Batch, axes: list[int]) -> torch.Tensor:
        target = torch.from_numpy(train.frozen.targets[index]).to(device)[:, None].flip(axes)
        return mask_loss(upsampled(logits(module, head, images), target.shape[-1]), target)

    def score(module: nn.Module, head: nn.Module) -> float:
        sums = [
            dice_sum(logits(module, head, images), torch.from_numpy(val.frozen.targets[rows]).to(device))
            for images, rows in _batches(trunk, val.pixels, settings)
        ]
        return float(torch.stack(sums).sum()) / len(val)

    best = _tuned(kind, train.pixels, trunk, first_head, loss, score, settings)
    decoder = first_head()
    decoder.load_state_dict(best.head)
    details = {**start.details, **best.details, "val_dice": f"{best.score:.4f}"}
    return TunedMasks(best.change, replace(start, module=decoder.eval().to(device), details=details))


def _tuned(
    kind: ChangeKind,
    pixels: npt.NDArray[np.uint8],
    trunk: Trunk,
    first_head: Callable[[], nn.Module],
    loss: Callable[[nn.Module, nn.Module, torch.Tensor, Batch, list[int]], torch.Tensor],
    score: Callable[[nn.Module, nn.Module], float],
    settings: HeadSettings,
) -> _Best:
    """Train once for each learning rate; keep the rate and epoch with the best val score, the first of equals."""
    config = settings.config
    best: _Best | None = None
    for rate in config.finetune_learning_rates if kind == "full" else config.lora_learning_rates:
        module, head = _copy(kind, trunk, settings), first_head().to(settings.device)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for epoch in _epochs(module, head, trained, pixels, trunk, loss, rate=rate, settings=settings):
            with torch.no_grad():
                found = score(module, head)
            if best is None or found > best.score:
                tensors = adapters(module) if kind == "lora" else _on_cpu(module)
                rank = {"lora_rank": str(config.lora_rank)} if kind == "lora" else {}
                details = {
                    "backbone": "fine-tuned" if kind == "full" else f"LoRA of rank {config.lora_rank}",
                    "protocol": f"backbone {'fine-tuned' if kind == 'full' else 'adapted by LoRA'}; chosen on val, reported on test",
                    "learning_rate": f"{rate:g}",
                    "epoch": str(epoch),
                    "trained_parameters": str(sum(parameter.numel() for parameter in trained) + num_parameters(head)),
                    **rank,
                }
                best = _Best(BackboneChange(kind=kind, scale=1.0, tensors=tensors), _on_cpu(head), found, details)
    assert best is not None, "there is a learning rate and an epoch"
    return best


def _epochs(
    module: nn.Module,
    head: nn.Module,
    trained: list[nn.Parameter],
    pixels: npt.NDArray[np.uint8],
    trunk: Trunk,
    loss: Callable[[nn.Module, nn.Module, torch.Tensor, Batch, list[int]], torch.Tensor],
    *,
    rate: float,
    settings: HeadSettings,
) -> Iterator[int]:
    """Train, and give the number of each epoch at its end; each step mirrors its pictures left to right or not, and upside down or not."""
    config = settings.config
    batch = config.tune_batch_size
    generator = torch.Generator().manual_seed(config.seed)
    groups = [{"params": trained, "lr": rate}, {"params": list(head.parameters()), "lr": _HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    steps = max(2, config.tune_epochs * -(-len(pixels) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[rate, _HEAD_RATE], total_steps=steps, pct_start=0.1)
    for epoch in range(1, config.tune_epochs + 1):
        for drawn in torch.split(torch.randperm(len(pixels), generator=generator), batch):
            index = np.sort(drawn.numpy())  # ascending reads of the memory map
            axes = [axis for axis in (-2, -1) if torch.rand(1, generator=generator) < 0.5]
            found = loss(module, head, trunk.prepared(np.array(pixels[index])).flip(axes), index, axes)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(found)
            optimizer.step()
            schedule.step()
        yield epoch


def _copy(kind: ChangeKind, trunk: Trunk, settings: HeadSettings) -> nn.Module:
    """The backbone with what is trained of it; always in eval mode, in which batch normalisation keeps its statistics."""
    module: nn.Module = deepcopy(trunk.module)
    if kind == "lora":
        add_adapters(module, rank=settings.config.lora_rank, seed=settings.config.seed)
    else:
        module.requires_grad_(True)
    return module.eval().to(settings.device)


def _batches(trunk: Trunk, pixels: npt.NDArray[np.uint8], settings: HeadSettings) -> Iterator[tuple[torch.Tensor, slice]]:
    """Prepared pictures, and which they are."""
    size = settings.config.tune_batch_size
    for start in range(0, len(pixels), size):
        rows = slice(start, start + size)
        yield trunk.prepared(np.array(pixels[rows])), rows


def _on_cpu(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in module.state_dict().items()}


def _trunk(settings: HeadSettings) -> Trunk:
    if settings.trunk is None:
        raise ValueError("a head that changes the backbone was given none; give it in the settings")
    return settings.trunk

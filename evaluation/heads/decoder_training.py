"""Training of a decoder on frozen maps: AdamW, mirrored maps, and the learning rate and epoch that are best on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from evaluation.heads.decoders import DptDecoder, FpnDecoder
from evaluation.heads.head import HeadSettings, MaskLabelled
from evaluation.heads.mask_training import BATCH, channel_statistics, mask_loss, mean_dice, read_maps, upsampled
from evaluation.heads.unet_decoder import UnetDecoder

__all__ = ["FittedDecoder", "fit_dpt", "fit_fpn", "fit_unet", "load_decoder", "num_parameters"]

Kind = Literal["fpn", "unet", "dpt"]


@dataclass(frozen=True, slots=True)
class FittedDecoder:
    """A decoder, and the statistics by which the channels of its maps are scaled."""

    kind: Kind
    channels: tuple[int, ...]
    width: int
    is_pyramid: bool
    statistics: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """mean and 1 / standard deviation of each level's channels, [D, 1, 1] each"""
    module: nn.Module
    details: dict[str, str]
    is_half: bool = False
    """whether a DPT gives logits of half the image's side"""

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return {name: getattr(self, name) for name in ("kind", "channels", "width", "is_pyramid", "is_half", "details")}

    @torch.inference_mode()
    def logits(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B, 1, H, W] foreground logits of maps [B, D, h, w] each."""
        logits: torch.Tensor = self.module(_scaled(maps, self.statistics))
        return logits

    def tensors(self) -> dict[str, torch.Tensor]:
        """The decoder's parameters, and the statistics."""
        found = {f"module.{name}": value.detach().cpu().contiguous() for name, value in self.module.state_dict().items()}
        for number, (mean, inverse_std) in enumerate(self.statistics):
            found |= {f"mean.{number}": mean.cpu().contiguous(), f"inverse_std.{number}": inverse_std.cpu().contiguous()}
        return found


def load_decoder(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> FittedDecoder:
    """As it was fitted."""
    channels, is_half = tuple(state["channels"]), bool(state.get("is_half", False))  # heads of earlier versions do not say it
    module = _built(state["kind"], channels, state["width"], is_pyramid=state["is_pyramid"], is_half=is_half)
    module.load_state_dict({name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")})
    statistics = tuple(
        (tensors[f"mean.{number}"].to(device), tensors[f"inverse_std.{number}"].to(device)) for number in range(len(channels))
    )
    placed, details = module.eval().to(device), dict(state["details"])
    return FittedDecoder(state["kind"], channels, state["width"], state["is_pyramid"], statistics, placed, details, is_half)


def fit_fpn(train: MaskLabelled, val: MaskLabelled, settings: HeadSettings) -> FittedDecoder:
    """Train the feature pyramid."""
    return _fitted("fpn", train, val, settings, width=settings.config.fpn_width)


def fit_unet(train: MaskLabelled, val: MaskLabelled, settings: HeadSettings) -> FittedDecoder:
    """Train the decoder half of a U-Net."""
    return _fitted("unet", train, val, settings, width=settings.config.unet_width)


def fit_dpt(train: MaskLabelled, val: MaskLabelled, settings: HeadSettings) -> FittedDecoder:
    """Train DPT."""
    return _fitted("dpt", train, val, settings, width=settings.config.dpt_width, is_half=settings.config.dpt_logits == "half")


def num_parameters(module: nn.Module) -> int:
    """How many values are trained."""
    return sum(parameter.numel() for parameter in module.parameters())


def _fitted(
    kind: Kind, train: MaskLabelled, val: MaskLabelled, settings: HeadSettings, *, width: int, is_half: bool = False
) -> FittedDecoder:
    """Train a decoder for each learning rate; keep the rate and epoch with the best mean val Dice, the first of equals."""
    config, device = settings.config, settings.device
    channels = tuple(level.shape[1] for level in train.maps)
    is_pyramid = len({level.shape[2] for level in train.maps}) > 1
    statistics = tuple(channel_statistics(train.maps, device, combine=list))
    best: tuple[float, int, float] | None = None
    kept: dict[str, torch.Tensor] = {}
    for rate in config.decoder_learning_rates:
        module = _initial(kind, channels, width, is_pyramid=is_pyramid, is_half=is_half, seed=config.seed).to(device)

        def logits(maps: list[torch.Tensor], module: nn.Module = module) -> torch.Tensor:
            found: torch.Tensor = module(_scaled(maps, statistics))
            return found

        def after_epoch(epoch: int, module: nn.Module = module, rate: float = rate) -> None:
            nonlocal best, kept
            score = float(mean_dice(logits, val.maps, val.targets, num_heads=1, device=device)[0])
            if best is None or score > best[2]:
                best = rate, epoch, score
                kept = {name: value.detach().clone() for name, value in module.state_dict().items()}

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # of dropout
            told: dict[str, Any] = {"rate": rate, "epochs": config.decoder_epochs, "seed": config.seed, "after_epoch": after_epoch}
            _train(module, logits, train, **told, is_half=is_half, device=device)
    assert best is not None, "there is a learning rate and an epoch"
    final = _built(kind, channels, width, is_pyramid=is_pyramid, is_half=is_half)
    final.load_state_dict(kept)
    details = {
        "learning_rate": f"{best[0]:g}",
        "epoch": str(best[1]),
        "val_dice": f"{best[2]:.4f}",
        "width": str(width),
        "parameters": str(num_parameters(final)),
        **({"logits": "half" if is_half else "full"} if kind == "dpt" else {}),
    }
    return FittedDecoder(kind, channels, width, is_pyramid, statistics, final.eval().to(device), details, is_half)


def _train(
    module: nn.Module,
    logits: Callable[[list[torch.Tensor]], torch.Tensor],
    train: MaskLabelled,
    *,
    rate: float,
    epochs: int,
    seed: int,
    device: torch.device,
    after_epoch: Callable[[int], None],
    is_half: bool,
) -> None:
    """Each step mirrors its maps and masks left to right or not, and upside down or not; the loss may be that of masks of half the side."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=1e-3)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=max(steps, 2), pct_start=0.1)
    for epoch in range(1, epochs + 1):
        module.train()
        for index in torch.split(torch.randperm(len(train), generator=generator), BATCH):
            order = np.sort(index.numpy())  # ascending reads of the memory map
            axes = [axis for axis in (2, 3) if torch.rand(1, generator=generator) < 0.5]
            maps = [level.flip(axes) for level in read_maps(train.maps, order, device)]
            target = torch.from_numpy(train.targets[order]).to(device)[:, None].flip(axes)
            target = F.avg_pool2d(target, 2) if is_half else target
            loss = mask_loss(upsampled(logits(maps), target.shape[-1]), target)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        module.eval()
        after_epoch(epoch)


def _scaled(maps: Sequence[torch.Tensor], statistics: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    return [(level - mean) * inverse_std for level, (mean, inverse_std) in zip(maps, statistics, strict=True)]


def _initial(kind: Kind, channels: tuple[int, ...], width: int, *, is_pyramid: bool, is_half: bool, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(kind, channels, width, is_pyramid=is_pyramid, is_half=is_half)


def _built(kind: Kind, channels: tuple[int, ...], width: int, *, is_pyramid: bool, is_half: bool) -> nn.Module:
    if kind == "dpt":
        return DptDecoder(channels, width, is_pyramid=is_pyramid, is_half=is_half)
    return UnetDecoder(channels, width) if kind == "unet" else FpnDecoder(channels, width)

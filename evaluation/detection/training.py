"""Training of the detector: AdamW, mirrored maps, and the learning rate and epoch with the highest AP50 on the validation split."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from evaluation.detection.fcos import Detections, Detector, Target
from evaluation.detection.maps import MapsAt
from evaluation.detection.metrics import Frame, average_precision, best_threshold, match_frames
from evaluation.tasks import Item

__all__ = ["FittedDetector", "Part", "fit_detector", "load_detector", "targets_of"]

BATCH = 16
"""images per step"""

_TRUNK_RATE = 0.1
_WEIGHT_DECAY = 1e-4
_LONGEST_STEP = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """The training or the validation split as the detector sees it."""

    maps: MapsAt
    targets: Sequence[Target]
    """in pixels of the square image"""

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedDetector:
    """The detector, learning rate, epoch and threshold that were best on the validation split."""

    detector: Detector
    channels: tuple[int, ...]
    width: int
    num_classes: int
    image_size: int
    num_frames: int
    threshold: float
    """score from which on F1 at IoU .5 is highest on validation"""
    frames_per_s: float | None
    trunk: Mapping[str, torch.Tensor] | None
    """weights of the backbone, if it was trained too"""
    details: dict[str, str]

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        names = ("channels", "width", "num_classes", "image_size", "num_frames", "threshold", "frames_per_s", "details")
        return {name: getattr(self, name) for name in names} | {"is_trained": self.trunk is not None}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Those of the detector, and of a trained backbone."""
        parts = {"detector": self.detector.state_dict(), "trunk": self.trunk or {}}
        return {f"{part}.{name}": value.detach().cpu().contiguous() for part, values in parts.items() for name, value in values.items()}

    def detections(self, maps: Sequence[torch.Tensor]) -> list[Detections]:
        """Boxes of each of B images of maps [B, D, h, w] each."""
        return self.detector.detections(maps, image_size=self.image_size)


def load_detector(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> FittedDetector:
    """As it was fitted."""
    told = {name: value for name, value in state.items() if name not in ("is_trained", "channels")}
    detector = Detector(state["channels"], state["width"], num_classes=state["num_classes"])
    detector.load_state_dict(_part(tensors, "detector"))
    trunk = _part(tensors, "trunk") if state["is_trained"] else None
    return FittedDetector(detector=detector.eval().to(device), channels=tuple(state["channels"]), trunk=trunk, **told)


def targets_of(items: Sequence[Item], sizes: npt.NDArray[np.int64], *, classes: Sequence[str], image_size: int) -> list[Target]:
    """True boxes of items in pixels of the square image, whose sides images of [N, 2] width and height are resized to."""
    index = {name: number for number, name in enumerate(classes)}
    found = []
    for item, (width, height) in zip(items, sizes.tolist(), strict=True):
        corners = torch.tensor([box.corners for box in item.boxes or ()], dtype=torch.float32).reshape(-1, 4)
        scale = torch.tensor([image_size / width, image_size / height] * 2)
        labels = torch.tensor([index[box.label] for box in item.boxes or ()], dtype=torch.int64)
        found.append(Target(corners * scale, labels))
    return found


def fit_detector(
    train: Part,
    val: Part,
    *,
    trunk: nn.Module | None,
    num_classes: int,
    image_size: int,
    width: int,
    learning_rates: Sequence[float],
    epochs: int,
    seed: int,
    device: torch.device,
    num_frames: int = 1,
    frames_per_s: float | None = None,
) -> FittedDetector:
    """Train a detector for each learning rate; keep the rate and epoch with the best AP50 on validation, the first of equals.

    Args:
        train: to learn from.
        val: to choose by.
        trunk: the backbone, if it learns too; it is left with the weights that were best.
        num_classes: without the background.
        image_size: side of the square image.
        width: channels of the detector.
        learning_rates: tried one by one, each from the same start.
        epochs: passes over the training split.
        seed: of the first weights, the order and the mirroring.
        device: where to compute.
        num_frames: that the maps were made from.
        frames_per_s: of the video, for the stored head.
    """
    channels = tuple(level.shape[1] for level in train.maps(np.arange(1), ()))
    start = copy.deepcopy(trunk.state_dict()) if trunk is not None else None
    best: tuple[float, int, float] | None = None
    kept: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None] = ({}, None)
    for rate in learning_rates:
        if trunk is not None and start is not None:
            trunk.load_state_dict(start)
        detector = _initial(channels, width, num_classes, seed).to(device)

        def after_epoch(epoch: int, detector: Detector = detector, rate: float = rate) -> None:
            nonlocal best, kept
            frames = _frames(detector, val, image_size)
            found = [average_precision(match_frames(frames, label, ious=(0.5,)))[0] for label in range(num_classes)]
            score = float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
            if best is None or score > best[2]:
                best, kept = (rate, epoch, score), (_copied(detector), _copied(trunk) if trunk is not None else None)

        _train(detector, trunk, train, image_size=image_size, rate=rate, epochs=epochs, seed=seed, after_epoch=after_epoch)
    assert best is not None, "there is a learning rate and an epoch"
    if trunk is not None and kept[1] is not None:
        trunk.load_state_dict(kept[1])
    final = Detector(channels, width, num_classes=num_classes)
    final.load_state_dict(kept[0])
    final = final.eval().to(device)
    threshold, f1 = best_threshold(_frames(final, val, image_size))
    details = {
        "learning_rate": f"{best[0]:g}",
        "epoch": str(best[1]),
        "val_ap50": f"{best[2]:.4f}",
        "val_f1_iou50": f"{f1:.4f}",
        "threshold": f"{threshold:.4f}",
        "width": str(width),
        "parameters": str(sum(parameter.numel() for parameter in final.parameters())),
        "context_frames": str(num_frames),
    }
    return FittedDetector(
        detector=final,
        channels=channels,
        width=width,
        num_classes=num_classes,
        image_size=image_size,
        num_frames=num_frames,
        threshold=threshold,
        frames_per_s=frames_per_s,
        trunk=kept[1],
        details=details,
    )


def _train(
    detector: Detector,
    trunk: nn.Module | None,
    train: Part,
    *,
    image_size: int,
    rate: float,
    epochs: int,
    seed: int,
    after_epoch: Callable[[int], None],
) -> None:
    """Each step mirrors its maps and boxes left to right or not, and upside down or not. A trained trunk keeps its batch statistics."""
    device = next(detector.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    groups: list[dict[str, Any]] = [{"params": list(detector.parameters()), "lr": rate}]
    if trunk is not None:
        trunk.requires_grad_(True)
        groups.append({"params": list(trunk.parameters()), "lr": rate * _TRUNK_RATE})
    weights = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
    steps = epochs * -(-len(train) // BATCH)
    peaks = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peaks, total_steps=max(steps, 2), pct_start=0.1)
    for epoch in range(1, epochs + 1):
        detector.train()
        for index in torch.split(torch.randperm(len(train), generator=generator), BATCH):
            order = np.sort(index.numpy())  # ascending reads of the memory map
            axes = [axis for axis in (2, 3) if torch.rand(1, generator=generator) < 0.5]
            targets = [_mirrored(train.targets[place], axes, image_size, device) for place in order.tolist()]
            loss = detector.loss(train.maps(order, axes), targets, image_size=image_size)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(weights, _LONGEST_STEP)
            optimizer.step()
            schedule.step()
        detector.eval()
        after_epoch(epoch)
    if trunk is not None:
        trunk.requires_grad_(False)


@torch.inference_mode()
def _frames(detector: Detector, part: Part, image_size: int) -> list[Frame]:
    """Truth and predictions of a split, in pixels of the square image."""
    frames = []
    for start in range(0, len(part), BATCH):
        places = np.arange(start, min(start + BATCH, len(part)))
        found = detector.detections(part.maps(places, ()), image_size=image_size)
        for place, one in zip(places.tolist(), found, strict=True):
            target = part.targets[place]
            boxes, labels, scores = one.boxes.cpu().double().numpy(), one.labels.cpu().numpy(), one.scores.cpu().double().numpy()
            truth, names = target.boxes.double().numpy(), target.labels.numpy()
            frames.append(Frame(truth=truth, truth_labels=names, boxes=boxes, labels=labels, scores=scores))
    return frames


def _mirrored(target: Target, axes: Sequence[int], image_size: int, device: torch.device) -> Target:
    boxes = target.boxes.clone()
    for axis, (low, high) in ((3, (0, 2)), (2, (1, 3))):
        if axis in axes:
            boxes[:, [low, high]] = image_size - boxes[:, [high, low]]
    return Target(boxes.to(device), target.labels.to(device))


def _initial(channels: Sequence[int], width: int, num_classes: int, seed: int) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Detector(channels, width, num_classes=num_classes)


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _part(tensors: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}

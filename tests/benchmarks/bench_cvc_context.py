"""What a frame's neighbours tell a linear head of masks: CVC-ClinicDB in five folds of whole sequences, context of T frames.

    python -m tests.benchmarks.bench_cvc_context CVC_FOLDER BACKBONE [--frames 1 8] [--epochs 10] [--image-size 224] [--weights random]

CVC_FOLDER is what `--task cvc12k` takes. A video backbone sees each frame in the middle of T frames, as `evaluate` shows them. An image
backbone sees each frame by itself, once; with T frames the head reads the mean of the patches of the T frames around each, and in the rows
`joined` the frame's own patches beside that mean, so that nothing is lost. Masks are scored at the frames' native size, empty ones against
empty ones as 1. It prints the Dice of each fold's frames, the mean over all frames, and over sequences with an interval over these.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import ModelRef, load_backbone, token_batches
from evaluation.config import EvaluateConfig
from evaluation.heads import MASK_HEADS, HeadSettings, MaskLabelled, SelectionSplit
from evaluation.images import mask_pixels
from evaluation.labels import group_indices
from evaluation.mask_scoring import image_scores, predicted_masks, target_masks
from evaluation.metrics import mean_scores
from evaluation.sequence_scores import sequence_means
from evaluation.tasks import Item, TaskData, resolve_task
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.context_rows import context_batches, neighbours
from flows.stages.video_network import find_video_network

Maps = npt.NDArray[np.float16]
Weights = Literal["trained", "random"]


def with_context(maps: Maps, items: tuple[Item, ...], *, num_frames: int) -> Maps:
    """The mean of the patches of the frames around each, [N, D, h, w]; windows stay in a sequence."""
    alone = tuple(Item(path=item.path, split="all", group=item.group) for item in items)
    at = {item.path: place for place, item in enumerate(items)}
    windows = [[at[item.path] for item in window] for window, _ in neighbours(alone, num_frames=num_frames)]
    return np.stack([maps[window].astype(np.float32).mean(0).astype(np.float16) for window in windows])


class AtSize:
    """A video network at another size of frames than that of its export; positions are resampled."""

    def __init__(self, network: ClipBackbone, image_size: int) -> None:
        self.network, self.image_size = network, image_size
        self.dim, self.num_frames, self.mean, self.std = network.dim, network.num_frames, network.mean, network.std

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ClipBackbone.tokens`."""
        return self.network.tokens(clips)


def seen(backbone: Path, items: tuple[Item, ...], frames: list[int], size: int, weights: Weights) -> dict[str, Maps]:
    """Patches of every frame, [N, D, h, w], by the name of the row."""
    if network := find_video_network(backbone):
        one = tuple(Item(path=item.path, split="all", group=item.group) for item in items)
        video, told = AtSize(network("cpu", weights, 0), size), EvaluateConfig(device="cpu", num_workers=1)
        return {str(count): np.concatenate(list(context_batches(video, one, count, told, torch.device("cpu")))) for count in frames}
    image = load_backbone(ModelRef(model_id="b", label="b", path=str(backbone), weights=weights), device="cpu", image_size=size)
    alone = np.concatenate(list(token_batches(image, items, batch_size=None, num_workers=1)))
    found = {}
    for count in frames:
        found[str(count)] = mean = alone if count == 1 else with_context(alone, items, num_frames=count)
        if count > 1:
            found[f"{count} joined"] = np.concatenate([alone, mean], axis=1)
    return found


def dice_of(task: TaskData, maps: dict[str, npt.NDArray[np.float16]], config: EvaluateConfig, size: int) -> npt.NDArray[np.float64]:
    """Dice of each test frame of a fold."""

    def labelled(split: SelectionSplit) -> MaskLabelled:
        items = task.split(split)
        return MaskLabelled(split, (np.stack([maps[item.path] for item in items]),), target_masks(items, size=size))

    device = torch.device("cpu")
    settings = HeadSettings(config=config, num_classes=2, metric="dice", device=device)
    head = MASK_HEADS["linear_segmentation"].fit(labelled("train"), labelled("val"), settings)
    test = task.split("test")
    tested = np.stack([maps[item.path] for item in test])
    shapes = [mask_pixels(item).shape for item in test]
    masks = predicted_masks(head, [([(tested,)], False)], ((shape[0], shape[1]) for shape in shapes), device=device)
    return np.asarray(image_scores(masks, test, clinical=False)[0]["dice"])


def main() -> None:
    """Print a row for each number of frames."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--weights", choices=("trained", "random"), default="trained")
    told = parser.parse_args()
    folds = [resolve_task("cvc12k", told.data, fold=fold) for fold in range(5)]
    items = folds[0].items
    maps_of = seen(told.backbone, items, told.frames, told.image_size, told.weights)
    grid = next(iter(maps_of.values())).shape[2:]
    print(f"{len(items)} frames of {len({item.group for item in items})} sequences, patches {grid}", flush=True)
    config = EvaluateConfig(segmentation_epochs=told.epochs, segmentation_learning_rates=(3e-3,), device="cpu")
    print("| T | Dice of each fold | frames | sequences | 95% interval |\n|---|---|---|---|---|")
    for frames, patches in maps_of.items():
        maps = {item.path: patches[place] for place, item in enumerate(items)}
        size = max(4 * grid[1], told.image_size // 4)
        found = [dice_of(task, maps, config, size) for task in folds]
        dice = np.concatenate(found)
        tested = [item for task in folds for item in task.split("test")]
        groups = group_indices(tested)
        of_sequences = sequence_means(dice, groups)
        interval = mean_scores(of_sequences, np.arange(len(of_sequences)), num_bootstrap=1000, seed=0)
        each = " ".join(f"{values.mean():.3f}" for values in found)
        print(
            f"| {frames} | {each} | {dice.mean():.3f} | {of_sequences.mean():.3f} | {interval.low:.3f} to {interval.high:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()

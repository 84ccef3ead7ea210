from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate_model
from evaluation.tasks import fingerprint, resolve_task


class Patches:
    """A network of clips whose patches are the mean colours of 4 x 4 pixels of a frame, and the mean of all frames'."""

    dim, image_size, num_frames, mean, std = 6, 56, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = F.avg_pool3d(clips, (1, 4, 4))
        joined = torch.cat([frames, frames.mean(2, keepdim=True).expand_as(frames)], 1).permute(0, 2, 3, 4, 1)
        return joined.mean((1, 2, 3)), joined


def patches(device: str, weights: str, seed: int) -> Patches:
    return Patches()


def test_masks_by_a_network_of_clips(squares: Path, tmp_path: Path) -> None:
    task = resolve_task("auto", squares)
    found = {}
    for frames in (1, 3):
        config = EvaluateConfig(
            clip_frames=frames, num_bootstrap=10, segmentation_epochs=5, segmentation_learning_rates=(1e-1,), device="cpu"
        )
        scores = evaluate_model(
            ModelRef(model_id="patches", label="patches", path="", clip_network=patches),
            task=task,
            identity=fingerprint(task),
            config=config,
            cache_dir=str(tmp_path),
        )
        assert {score.details["clip_frames"] for score in scores} == {str(frames)}
        found[frames] = {score.metric: score.value for score in scores}
    assert found[1]["dice"] > 0.85
    # every picture is a sequence of its own, whose window repeats it
    assert found[3] == pytest.approx(found[1], abs=1e-6)

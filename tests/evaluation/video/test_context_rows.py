from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.replay import from_head, open_score
from evaluation.run import evaluate_model
from evaluation.stored_evaluation import Places
from evaluation.tasks import Item, TaskData, fingerprint, resolve_task
from evaluation.video.context_rows import context_maps


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
    network = tmp_path / "network"
    network.mkdir()
    for name in ("config.json", "model.safetensors"):  # what a replay compares
        (network / name).write_text("{}")
    found = {}
    for frames in (1, 3):
        config = EvaluateConfig(
            clip_frames=frames, num_bootstrap=10, segmentation_epochs=5, segmentation_learning_rates=(1e-1,), device="cpu"
        )
        scores = evaluate_model(
            ModelRef(model_id="patches", label="patches", path=str(network), clip_network=patches),
            task=task,
            identity=fingerprint(task),
            config=config,
            cache_dir=str(tmp_path),
        )
        assert {score.details["clip_frames"] for score in scores} == {str(frames)}
        found[frames] = {score.metric: score.value for score in scores}
        for score in scores:  # from its stored head, on patches of the same windows
            again = from_head(open_score(score, tmp_path), squares, clip_network=lambda _: patches)
            assert again == pytest.approx(score.value, abs=1e-6)
    assert found[1]["dice"] > 0.85
    # every picture is a sequence of its own, whose window repeats it
    assert found[3] == pytest.approx(found[1], abs=1e-6)


def test_maps_are_made_anew_where_other_names_give_other_windows(tmp_path: Path) -> None:
    config, model = EvaluateConfig(device="cpu", num_workers=1), ModelRef(model_id="patches", label="patches", path="")
    found = []
    for names in (("1", "2", "3"), ("2", "1", "3")):
        items = []
        for name, grey in zip(names, (10, 100, 200), strict=True):
            path = tmp_path / "".join(names) / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (56, 56), (grey,) * 3).save(path)
            items.append(Item(path=str(path), split="train", group="g"))
        task = TaskData(name="t", kind="segmentation", items=tuple(items), classes=("background", "polyp"))
        places = Places(tmp_path / "cache", tmp_path, "", tmp_path, "")
        found.append(context_maps(Patches(), model, task, "train", 2, "data", config, places, torch.device("cpu")))
    assert found[0].shape == found[1].shape == (3, 6, 14, 14)
    means = [maps[:, 3, 0, 0].astype(float) for maps in found]  # of both frames of a window
    np.testing.assert_allclose((means[0] * 0.5 + 0.5) * 255, [55, 55, 150], atol=0.5)
    np.testing.assert_allclose((means[1] * 0.5 + 0.5) * 255, [55, 55, 105], atol=0.5)

"""Masks of a video network over a video: the windows are those of training, and the masks those of the evaluation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.heads import HeadError
from evaluation.images import mask_pixels
from evaluation.predict import predict_context, predict_frames
from evaluation.predictor import open_predictor
from evaluation.replay import open_score
from evaluation.run import evaluate_model
from evaluation.tasks import Item, fingerprint, resolve_task
from evaluation.video.context_rows import neighbours
from evaluation.video.context_windows import ContextSetup, with_neighbours
from flows.stages.video_network import find_video_network, video_model
from tests.helpers.video_backbone import tiny_video_backbone


class _Grey:
    """A network that is asked for its size alone."""

    dim, image_size, num_frames, mean, std = 1, 4, 1, (0.0,) * 3, (1.0,) * 3

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError


@pytest.mark.parametrize("num_frames", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [1, 2, 7, 20])
def test_windows_of_a_stream_are_those_of_a_sequence(total: int, num_frames: int) -> None:
    items = [Item(path=f"{number}.png", split="test", group="g") for number in range(total)]
    expected = [([int(Path(each.path).stem) for each in window], place) for window, place in neighbours(items, num_frames=num_frames)]
    setup = ContextSetup(network=_Grey(), num_frames=num_frames, levels=1, device=torch.device("cpu"))
    found = list(with_neighbours(range(total), setup, rgb_of=lambda number: np.full((6, 5, 3), number, np.uint8)))
    assert [frame for frame, _ in found] == list(range(total))
    assert [(window.frames[:, 0, 0, 0].tolist(), window.place) for _, window in found] == expected
    assert {window.size for _, window in found} == {(6, 5)}


def _moving_squares(root: Path) -> None:
    """Sequences of six frames in which a bright square moves."""
    rng = np.random.default_rng(0)
    rows = ["image,mask,split,group"]
    for group, part in enumerate(("train", "train", "val", "test")):
        for number in range(6):
            name = f"{group}-{number}.png"
            mask = np.zeros((40, 48), np.uint8)
            mask[8:26, 4 + 4 * number : 20 + 4 * number] = 255
            picture = np.where(mask[..., None] > 0, np.uint8(230), rng.integers(0, 90, (40, 48, 3), np.uint8))
            for folder, pixels in (("images", picture), ("masks", mask)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / folder / name)
            rows.append(f"images/{name},masks/{name},{part},sequence {group}")
    (root / "split.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("head", ["linear", "fpn"])
def test_predicted_masks_are_those_that_were_scored(tmp_path: Path, head: str) -> None:
    data = tmp_path / "data"
    _moving_squares(data)
    network: ModelRef = video_model(tiny_video_backbone(tmp_path / "network"), model_id="v", label="v")
    task = resolve_task("auto", data)
    config = EvaluateConfig(
        heads=(head,),
        num_bootstrap=10,
        segmentation_epochs=3,
        segmentation_learning_rates=(1e-1,),
        decoder_epochs=2,
        fpn_width=8,
        device="cpu",
    )
    told: dict[str, Any] = {"cache_dir": str(tmp_path), "root": str(tmp_path), "data": str(data)}
    score = evaluate_model(network, task=task, identity=fingerprint(task), config=config, **told)[0]
    predictor = open_predictor(score, tmp_path, cache_dir=tmp_path, device="cpu", clip_network=find_video_network)
    assert predictor.context is not None
    assert predictor.context.num_frames == 4
    items = sorted(task.split("test"), key=lambda item: item.path)
    frames = [np.asarray(Image.open(item.path)) for item in items]
    windows = [window for _, window in with_neighbours(frames, predictor.context, rgb_of=lambda rgb: rgb)]
    stored = {row["path"]: row["predicted_mask"] for row in open_score(score, tmp_path).predictions.to_pylist()}
    for item, prediction in zip(items, predict_context(predictor, windows), strict=True):
        assert prediction.mask is not None
        assert prediction.mask.shape == mask_pixels(item).shape
        kept = np.asarray(Image.open(io.BytesIO(stored[f"images/{Path(item.path).name}"])).convert("1"))
        assert (prediction.mask != kept).mean() < 0.002, "batches of other sizes may round a pixel otherwise"
    of_training = [np.asarray(Image.open(item.path)) for item in sorted(task.split("train"), key=lambda item: item.path)[:6]]
    again = [window for _, window in with_neighbours(of_training, predictor.context, rgb_of=lambda rgb: rgb)]
    assert [each.distance for each in predict_context(predictor, again)] == pytest.approx([0] * 6, abs=1e-3), "trained on"
    (tmp_path / score.details["head_file"]).with_name("training.safetensors").unlink()
    older = open_predictor(score, tmp_path, cache_dir=tmp_path, device="cpu", clip_network=find_video_network)
    assert older.no_distance == "the evaluation kept no vectors of its training clips or frames, as older versions did not"
    with pytest.raises(HeadError, match="several frames at once"):
        predict_frames(predictor, frames)

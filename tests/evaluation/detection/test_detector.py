"""The detector learns boxes on maps, and comes back from disk the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.detection import Detector, Target, detection_value_again, open_detector
from evaluation.detection.metrics import one_a_place
from evaluation.detection.pyramid import SimplePyramid
from evaluation.heads import HeadError
from evaluation.leakage import find_leaks
from evaluation.predict import predict_context, predict_frames
from evaluation.predictor import Predictor, open_predictor
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.report import render_scorecard
from evaluation.run import evaluate_model, reference_scores
from evaluation.tasks import readable_task, resolve_task
from evaluation.video.context_windows import ContextSetup, with_neighbours
from tests.evaluation.detection.trees import polyps_set
from warehouse.records import Score


@pytest.mark.parametrize(("side", "patch"), [(224, 16), (224, 14), (210, 14)])
def test_a_map_of_patches_becomes_three_levels(side: int, patch: int) -> None:
    grid = side // patch
    levels = SimplePyramid([24], 32)([torch.zeros(1, 24, grid, grid)])
    assert [tuple(level.shape[1:]) for level in levels] == [
        (32, 2 * grid, 2 * grid),
        (32, grid, grid),
        (32, (grid + 1) // 2, (grid + 1) // 2),
    ]
    stages = SimplePyramid([8, 16, 40], 64)([torch.zeros(2, c, g, g) for c, g in ((8, 28), (16, 14), (40, 7))])
    assert [tuple(level.shape) for level in stages] == [(2, 64, 28, 28), (2, 64, 14, 14), (2, 64, 7, 7)]


@pytest.mark.parametrize(
    ("channels", "width", "said"), [([3, 4], 32, "one map or 3, and was given 2"), ([3], 40, "is 40; give a multiple of 32")]
)
def test_other_pyramids_are_refused(channels: list[int], width: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SimplePyramid(channels, width)


def test_boxes_are_found_where_the_map_shows_them() -> None:
    """Two classes in two channels of an 8x8 map of a 128 px image; one image shows nothing."""
    boxes = [(16.0, 16.0, 64.0, 80.0), (64.0, 32.0, 112.0, 96.0)]
    maps = torch.zeros(3, 2, 8, 8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        maps[number, number, int(y1 / 16) : int(y2 / 16), int(x1 / 16) : int(x2 / 16)] = 3.0
    targets = [Target(torch.tensor([box]), torch.tensor([number])) for number, box in enumerate(boxes)]
    targets.append(Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)))
    torch.manual_seed(0)
    detector = Detector([2], 32, num_classes=2)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for _ in range(60):
        loss = detector.loss([maps], targets, image_size=128)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    found = detector.eval().detections([maps], image_size=128)
    for number, box in enumerate(boxes):
        assert int(found[number].labels[0]) == number
        assert found[number].boxes[0].tolist() == pytest.approx(box, abs=8)
        assert found[number].scores[0] > 0.4
    assert (found[2].scores < 0.3).all()


def scored(folder: str, root: Path, task_root: Path, **settings: Any) -> tuple[Score, ...]:
    task, identity = readable_task(resolve_task("kumc", task_root))
    config = EvaluateConfig(detection_epochs=1, detection_width=32, num_workers=1, **settings)
    model = ModelRef(model_id="m", label="tiny", path=folder)
    return evaluate_model(
        model, task=task, identity=identity, config=config, cache_dir=str(root / "cache"), root=str(root), data=str(task_root)
    )


def assert_predicted_again(score: Score, root: Path, data: Path, *, has_distance: bool) -> None:
    """The boxes of the test frames, predicted as of any picture, are those that were stored."""
    stored = pq.read_table(root / score.details["predictions_file"]).to_pylist()
    predictor = open_predictor(score, root, cache_dir=root / "cache", device="cpu")
    assert predictor.gives_boxes
    assert (predictor.no_distance == "") == has_distance
    found = predict_frames(predictor, [np.asarray(Image.open(data / row["path"]).convert("RGB")) for row in stored])
    for frame, row in zip(found, stored, strict=True):
        corners, scores = np.array(row["predicted_boxes"]).reshape(-1, 4), np.array(row["predicted_scores"])
        kept = one_a_place(corners, scores)
        assert [box.score for box in frame.boxes] == pytest.approx(scores[kept].tolist(), abs=1e-4)
        assert (frame.distance is not None) == has_distance


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return polyps_set(tmp_path_factory.mktemp("kumc"), videos=5, frames=2)


def test_an_evaluation_keeps_boxes_that_give_the_same_numbers_again(cnn_folder: str, tree: Path, tmp_path: Path) -> None:
    scores = {score.metric: score for score in scored(cnn_folder, tmp_path, tree)}
    assert {
        "ap50",
        "ap",
        "ap50_agnostic",
        "ap50/adenomatous",
        "f1_iou50",
        "presence_f1",
        "lesion_recall",
        "false_positives_per_minute",
    } <= set(scores)
    first = scores["ap50"]
    assert first.details["frame_rate"] == "30 a second, assumed: the publication names no frame rate"
    assert (first.head, first.num_items, first.num_groups, first.details["leak"]) == ("fcos", 10, 5, "unknown")
    for name in ("ap50", "presence_f1", "false_positives_per_minute"):
        stored = open_score(scores[name], tmp_path)
        assert from_predictions(stored) == scores[name].value
    assert from_head(open_score(first, tmp_path), tree) == pytest.approx(first.value, abs=1e-6)
    table = pq.read_table(tmp_path / first.details["predictions_file"])
    boxes = np.array([box for row in table["predicted_boxes"].to_pylist() for box in row])
    assert (boxes >= 0).all()
    assert (boxes <= [96.001, 80.001] * 2).all()
    task, identity = readable_task(resolve_task("kumc", tree))
    guess = reference_scores(task, identity=identity, config=EvaluateConfig(), leak=find_leaks(task, identity.hashes, judge=None))
    assert {score.metric for score in guess} == set(scores)
    render_scorecard([*scores.values(), *guess], root=tmp_path, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "mean F1 of boxes" in page
    assert "A minute of false positives is of frames at 30 a second, assumed" in page
    assert page.count("data:image/jpeg") == 12  # six of the worst, six of the best
    assert_predicted_again(first, tmp_path, tree, has_distance=True)


def test_a_trained_transformer_is_stored_with_its_detector(vit_folder: str, tree: Path, tmp_path: Path) -> None:
    scores = scored(vit_folder, tmp_path, tree, detection_backbone="trained")
    ap = next(score for score in scores if score.metric == "ap_agnostic")
    assert ap.details["protocol"].startswith("fine-tuned with the detector")
    assert ap.details["backbone"] == "fine-tuned"
    kept, started = load_file(tmp_path / ap.details["head_file"]), load_file(Path(vit_folder) / "model.safetensors")
    assert any(not torch.equal(kept[f"trunk.{name}"], value) for name, value in started.items() if f"trunk.{name}" in kept)
    assert from_head(open_score(ap, tmp_path), tree) == pytest.approx(ap.value, abs=1e-6)
    assert_predicted_again(ap, tmp_path, tree, has_distance=False)


def test_a_video_network_sees_as_many_frames_in_training_as_in_test(tree: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    class Video:
        """A network of clips whose patches are their pixels, averaged per patch and over the frames."""

        dim, image_size, num_frames, mean, std = 3, 64, 4, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

        def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(clips.shape[2])
            patches = torch.nn.functional.avg_pool3d(clips, (1, 16, 16)).permute(0, 2, 3, 4, 1)
            mixed = patches + patches.mean(1, keepdim=True)
            return mixed.mean((1, 2, 3)), mixed

    task, identity = readable_task(resolve_task("kumc", tree))
    model = ModelRef(model_id="v", label="video", path="", clip_network=lambda device, weights, seed: Video())
    config = EvaluateConfig(detection_epochs=1, detection_width=32, num_workers=1, clip_frames=3)
    folders: dict[str, Any] = {"cache_dir": str(tmp_path / "cache"), "root": str(tmp_path), "data": str(tree)}
    scores = evaluate_model(model, task=task, identity=identity, config=config, **folders)
    assert set(seen) == {3}
    assert scores[0].details["context_frames"] == "3"
    render_scorecard(scores, root=tmp_path, path=tmp_path / "page.html")
    assert ">fcos, 3 frames</td>" in (tmp_path / "page.html").read_text()
    assert (tmp_path / scores[0].details["head_file"]).with_name("training.safetensors").is_file(), "for the distance of predictions"
    again = detection_value_again(
        tmp_path / scores[0].details["head_file"],
        pq.read_table(tmp_path / scores[0].details["predictions_file"]),
        "ap_agnostic",
        data=tree,
        backbone=Video(),
        config=config,
    )
    assert again == pytest.approx(next(score.value for score in scores if score.metric == "ap_agnostic"), abs=1e-6)
    setup = ContextSetup(network=Video(), num_frames=3, levels=1, device=torch.device("cpu"))
    head = open_detector(tmp_path / scores[0].details["head_file"], Video(), setup.device)
    predictor = Predictor(
        score=scores[0], kind="detection", classes=task.classes, head=head, distance=None, no_distance="none", context=setup
    )
    stored = {row["path"]: row["predicted_scores"] for row in open_score(scores[0], tmp_path).predictions.to_pylist()}
    for video in {item.group for item in task.split("test")}:
        paths = sorted((item.path for item in task.split("test") if item.group == video), key=lambda path: int(Path(path).stem))
        frames = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        windows = [window for _, window in with_neighbours(frames, setup, rgb_of=lambda rgb: rgb)]
        for path, found in zip(paths, predict_context(predictor, windows), strict=True):
            surest = max(stored[str(Path(path).relative_to(tree))], default=0.0)
            assert max((box.score for box in found.boxes), default=0.0) == pytest.approx(surest, abs=1e-4)
    with pytest.raises(HeadError, match="detection_backbone is trained, and video is a video network"):
        evaluate_model(model, task=task, identity=identity, config=replace(config, detection_backbone="trained"), **folders)

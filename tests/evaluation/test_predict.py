"""A stored head on arrays says what its evaluation said, and how far they are from what it was trained on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.episodes import Episode, find_episodes
from evaluation.overlay import overlaid
from evaluation.predict import predict_frames, regions_of
from evaluation.predictor import open_predictor
from evaluation.run import evaluate_model
from evaluation.tasks import fingerprint, resolve_task
from evaluation.training_vectors import nearest_distances
from warehouse.records import Score


def evaluated(folder: str, data: Path, lake: Path, heads: tuple[str, ...]) -> Score:
    task = resolve_task("auto", data)
    config = EvaluateConfig(heads=heads, num_bootstrap=10, segmentation_epochs=2, segmentation_learning_rates=(1e-2,), device="cpu")
    model = ModelRef(model_id="m", label="m", path=folder)
    told: dict[str, Any] = {"task": task, "identity": fingerprint(task), "config": config, "data": str(data)}
    return evaluate_model(model, **told, cache_dir=str(lake / "cache"), root=str(lake))[0]


def pixels(data: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(data / name).convert("RGB"))


def test_classes_of_frames_are_those_of_the_evaluation(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    score = evaluated(vit_folder, colours, tmp_path, ("knn",))
    stored = pq.read_table(tmp_path / score.details["predictions_file"]).to_pylist()
    predictor = open_predictor(score, tmp_path, cache_dir=tmp_path / "cache", device="cpu")
    assert (predictor.classes, predictor.no_distance, predictor.gives_masks) == (("blue", "green", "red"), "", False)
    found = predict_frames(predictor, [pixels(colours, row["path"]) for row in stored])
    np.testing.assert_allclose([each.probabilities for each in found], [row["probabilities"] for row in stored], atol=1e-5)
    assert all(each.distance is not None and each.distance < 0.2 for each in found)

    of_training = predict_frames(predictor, [pixels(colours, "p0_red_0.png")])[0].distance
    assert of_training == pytest.approx(0, abs=1e-3)
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[::4] = 255
    far = predict_frames(predictor, [stripes])[0].distance
    assert far is not None
    assert predictor.distance is not None
    assert far > predictor.distance.threshold

    for file in (tmp_path / "cache").glob("*.safetensors"):
        file.unlink()
    again = open_predictor(score, tmp_path, cache_dir=tmp_path / "cache", device="cpu")
    assert predict_frames(again, [stripes])[0].distance == far, "the training vectors lie beside the head"
    (tmp_path / score.details["head_file"]).with_name("training.safetensors").unlink()
    without = open_predictor(score, tmp_path, cache_dir=tmp_path / "cache", device="cpu")
    assert without.no_distance.startswith("the evaluation's features of its training images are not below")
    assert predict_frames(without, [stripes])[0].distance is None


def test_masks_of_frames_are_those_of_the_evaluation(cnn_folder: str, squares: Path, tmp_path: Path) -> None:
    score = evaluated(cnn_folder, squares, tmp_path, ("linear",))
    stored = pq.read_table(tmp_path / score.details["predictions_file"]).to_pylist()
    predictor = open_predictor(score, tmp_path, cache_dir=tmp_path / "cache", device="cpu")
    found = predict_frames(predictor, [pixels(squares, row["path"]) for row in stored])
    for each, row in zip(found, stored, strict=True):
        assert each.mask is not None
        assert each.mask.shape == (56, 70)
        expected = np.asarray(Image.open(io.BytesIO(row["predicted_mask"])))
        assert (each.mask != expected).mean() < 0.01  # batches of other sizes round otherwise
        assert each.distance is not None
    assert predictor.backbone is not None
    larger = replace(predictor.backbone, image_size=2 * predictor.backbone.image_size)  # a first test scale of 2
    at_two = predict_frames(replace(predictor, views=((larger, False),)), [pixels(squares, row["path"]) for row in stored])
    assert [each.distance for each in at_two] == pytest.approx([each.distance for each in found], abs=1e-5)


def test_regions_are_counted_from_their_least_size_on() -> None:
    mask = np.zeros((10, 10), bool)
    mask[0:4, 0:4] = mask[8:10, 8:10] = True
    mask[4, 4] = True  # touches the first at a corner
    assert [regions_of(mask, min_share=share) for share in (0, 0.04, 0.05, 0.17, 0.18)] == [2, 2, 1, 1, 0]


def test_distance_is_to_the_nearest_by_angle() -> None:
    gallery = np.array([[1, 0], [0, 1]], np.float32)
    queries = np.array([[5, 0], [3, 4], [-2, 0]], np.float32)
    np.testing.assert_allclose(nearest_distances(queries, gallery), [0, 0.2, 1], atol=1e-6)
    assert nearest_distances(np.empty((0, 2), np.float32), gallery).shape == (0,)


def test_episodes_bridge_short_gaps_and_leave_single_frames_out() -> None:
    labels = ["a", None, "a", None, None, "b", "a", "b", None, "a"]
    values = [0.6, 0, 0.9, 0, 0, 0.7, 0.5, 0.7, 0, 0.8]
    times = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 3.0]
    assert find_episodes(labels, values, times, gap_s=0.8, min_frames=2) == (
        Episode(label="a", first=0, last=6, peak=2, num_positive=3),
        Episode(label="b", first=5, last=7, peak=5, num_positive=2),
    )
    assert len(find_episodes(labels, values, times, gap_s=0.1, min_frames=1)) == 6
    assert find_episodes([], [], [], gap_s=1, min_frames=1) == ()


def test_the_mark_is_in_every_picture_and_the_rest_is_left_alone() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    marked = overlaid(black)
    assert marked[200:].max() == 255
    assert marked[:200].max() == 0
    assert black.max() == 0
    mask = np.zeros((240, 320), bool)
    mask[50:100, 100:200] = True
    drawn = overlaid(black, mask=mask, text="polyp 0.93", is_unlike=True)
    assert drawn[50, 100:200].min(axis=0).tolist() == [255, 214, 10]
    assert drawn[60:90, 110:190].max() == 0
    assert overlaid(np.zeros((8, 6, 3), np.uint8), text="small").shape == (8, 6, 3)
    narrow = overlaid(np.zeros((900, 60, 3), np.uint8))
    assert narrow.any()
    assert not narrow[:, -6:].any(), "the mark ends before the margin"

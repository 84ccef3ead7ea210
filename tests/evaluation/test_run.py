from __future__ import annotations

import functools
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.backbone import BackboneError, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate_model
from evaluation.tasks import read_task
from evaluation.tasks.items import TaskData, TaskError, fingerprint
from evaluation.validate import knn_score
from warehouse.records import Score

QUICK = EvaluateConfig(k=(1, 3), regularization=(0.01, 1.0), segmentation_epochs=8, segmentation_learning_rates=(0.03,), num_bootstrap=50)


def _ref(folder: str) -> ModelRef:
    return ModelRef(model_id="abc", label="ours", path=folder)


def evaluate(model: ModelRef, *, task: TaskData, config: EvaluateConfig, cache_dir: str) -> tuple[Score, ...]:
    return evaluate_model(model, task=task, identity=fingerprint(task), config=config, cache_dir=cache_dir)


def test_colours_are_told_apart_by_both_heads(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours, name="colours")
    scores = evaluate(_ref(vit_folder), task=task, config=QUICK, cache_dir=str(tmp_path))
    assert [(s.head, s.metric) for s in scores] == [
        (head, metric) for head in ("knn", "linear") for metric in ("accuracy", "balanced_accuracy", "macro_f1")
    ]
    assert all(s.value > 0.9 for s in scores if s.head == "linear")
    first = scores[0]
    assert (first.model_id, first.model, first.task, first.split, first.num_items, first.num_groups) == (
        "abc",
        "ours",
        "colours",
        "test",
        12,
        2,
    )
    assert first.details["k"] in {"1", "3"}
    assert first.details["protocol"] == "frozen; chosen on val, reported on test"
    assert len({s.score_id for s in scores}) == 6


def test_an_ordinal_task_adds_the_weighted_kappa(cnn_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours, kind="ordinal", order=("red", "green", "blue"))
    scores = evaluate(_ref(cnn_folder), task=task, config=QUICK, cache_dir=str(tmp_path))
    assert {s.metric for s in scores} == {"accuracy", "balanced_accuracy", "macro_f1", "quadratic_weighted_kappa"}
    assert "val_quadratic_weighted_kappa" in scores[0].details


def test_squares_are_segmented(vit_folder: str, squares: Path, tmp_path: Path) -> None:
    scores = evaluate(_ref(vit_folder), task=read_task(squares), config=replace(QUICK, image_size=112), cache_dir=str(tmp_path))
    assert [(s.head, s.metric, s.num_items) for s in scores] == [("linear_segmentation", "dice", 6), ("linear_segmentation", "iou", 6)]
    assert scores[0].value > 0.5
    assert scores[0].details["tokens"] == "8x8"


def test_a_second_call_returns_what_the_first_one_found(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task, model = read_task(colours), tmp_path / "model"
    shutil.copytree(vit_folder, model)
    first = evaluate(_ref(str(model)), task=task, config=QUICK, cache_dir=str(tmp_path / "cache"))
    (model / "model.safetensors").unlink()  # so that nothing could be computed
    assert evaluate(_ref(str(model)), task=task, config=QUICK, cache_dir=str(tmp_path / "cache")) == first
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        evaluate(_ref(str(model)), task=task, config=replace(QUICK, seed=1), cache_dir=str(tmp_path / "cache"))


def test_scores_say_how_many_leaks_their_data_has(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours)
    whole = evaluate(_ref(vit_folder), task=task, config=QUICK, cache_dir=str(tmp_path / "whole"))
    assert "num_leaks" not in whole[0].details
    items = tuple(replace(item, group="patient 0") if item.split in ("test", "val") else item for item in task.items)
    damaged = replace(task, items=items, unreadable=("image 'x.png' does not decode",))
    leaking = evaluate(_ref(vit_folder), task=damaged, config=QUICK, cache_dir=str(tmp_path / "leaking"))
    assert leaking[0].details["num_leaks"] == "1"
    assert leaking[0].details["unreadable"] == "1"


def test_two_computations_give_equal_scores(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours)
    results = [evaluate(_ref(vit_folder), task=task, config=QUICK, cache_dir=str(tmp_path / name)) for name in "ab"]
    assert results[0] == results[1]


def test_evidence_that_has_an_undefined_value_is_json(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours, kind="ordinal", order=("red", "green", "blue"))
    one_class = tuple(item for item in task.items if item.split != "test" or item.label == "red")
    for _ in range(2):
        scores = evaluate(_ref(vit_folder), task=replace(task, items=one_class), config=QUICK, cache_dir=str(tmp_path))
        undefined = [s for s in scores if s.metric == "quadratic_weighted_kappa" and np.isnan(s.value)]
        assert undefined or all(s.value <= 1 for s in scores)
        assert "which therefore is not scored" in scores[0].details["warnings"]
    (evidence,) = tmp_path.glob("scores-*.json")
    assert "NaN" not in evidence.read_text()
    json.loads(evidence.read_text())


def test_the_validation_callback_can_be_pickled_and_never_reads_the_test_split(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    data = tmp_path / "colours"
    shutil.copytree(colours, data)
    callback = pickle.loads(pickle.dumps(functools.partial(knn_score, data=str(data), task="auto", k=3)))  # noqa: S301
    name, value = callback(vit_folder)
    assert name == "colours/val/knn_balanced_accuracy"
    assert 0.5 < value <= 1
    for path in data.glob("p[45]_*.png"):  # the patients of the test split
        path.write_bytes(b"not an image")
    assert callback(vit_folder) == (name, value)
    for path in data.glob("p2_*.png"):  # one of validation
        path.write_bytes(b"not an image")
    with pytest.raises(TaskError, match="does not decode"):
        callback(vit_folder)


def test_the_validation_callback_refuses_masks(vit_folder: str, squares: Path) -> None:
    with pytest.raises(TaskError, match="is a segmentation set"):
        knn_score(vit_folder, data=str(squares), task="auto")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"image_size": 8}, "image_size is 8 pixels; give at least 16"),
        ({"k": ()}, "k is (); give one or more numbers above 0"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"val_share": 0.9}, "val_share is 0.9; it must be from 0.05 to 0.4"),
        ({"num_bootstrap": 0}, "num_bootstrap is 0; it must be at least 1"),
    ],
)
def test_a_setting_out_of_range_says_what_it_may_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        EvaluateConfig(**changes)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)

"""Class heads against literal formulas, scikit-learn and themselves when they are loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evaluation.config import EvaluateConfig
from evaluation.heads import CLASS_HEADS, HeadSettings, Labelled, fit_linear_grid, load_head, save_head
from evaluation.heads.linear_grid import LEARNING_RATES, train_grid
from evaluation.heads.ordinal import cumulative_probabilities, fit_proportional_odds

CPU = torch.device("cpu")


def settings(num_classes: int = 3, metric: str = "balanced_accuracy", **changes: object) -> HeadSettings:
    config = EvaluateConfig(**{"k": (1, 3, 7), "regularization": (0.01, 1.0), "grid_steps": 300, **changes})  # type: ignore[arg-type]
    return HeadSettings(config=config, num_classes=num_classes, metric=metric, device=CPU)


def blobs(num: int, seed: int, *, num_classes: int = 3) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Grades along one axis, with noise, as two feature sets."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(num) % num_classes).astype(np.int64)
    values = rng.normal(0, 0.5, (num, 6)).astype(np.float32)
    values[:, :2] += np.stack([3.0 * labels, np.full(num, 4.0)], 1)
    return {"last": values, "last+mean": np.concatenate([values, rng.normal(size=(num, 2))], 1).astype(np.float32)}, labels


def labelled(split: str, num: int, seed: int) -> Labelled:
    return Labelled(split, *blobs(num, seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLASS_HEADS)
def test_a_stored_head_gives_equal_probabilities(name: str, tmp_path: Path) -> None:
    head = CLASS_HEADS[name].fit(labelled("train", 60, 1), labelled("val", 30, 2), settings())
    test, labels = blobs(45, 3)
    probabilities = head.probabilities(test)
    assert probabilities.shape == (45, 3)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(1) == labels).mean() > 0.85
    save_head(tmp_path / "head.safetensors", name, head, {"classes": ["a", "b", "c"]})
    loaded = load_head(tmp_path / "head.safetensors", device=CPU)
    assert np.array_equal(loaded.probabilities(test), probabilities)  # type: ignore[union-attr]
    assert loaded.details == head.details
    assert "val_balanced_accuracy" in head.details


@pytest.mark.parametrize("name", CLASS_HEADS)
@pytest.mark.parametrize(("train_classes", "val_classes"), [([0, 1, 2], [1]), ([1], [0, 1, 2]), ([0, 2], [0, 1]), ([0, 1], [0])], ids=str)
def test_splits_that_lack_classes_give_probabilities(name: str, train_classes: list[int], val_classes: list[int]) -> None:
    train, val = labelled("train", 30, 1), labelled("val", 9, 2)
    train = train.subset(np.flatnonzero(np.isin(train.labels, train_classes))[:4])
    val = val.subset(np.flatnonzero(np.isin(val.labels, val_classes))[:2])
    for metric in ("balanced_accuracy", "quadratic_weighted_kappa"):
        found = CLASS_HEADS[name].fit(train, val, settings(metric=metric)).probabilities(blobs(9, 3)[0])
        assert found.sum(1) == pytest.approx(1, abs=1e-5)
        if name != "linear_grid":  # which starts from all classes
            absent = sorted({0, 1, 2} - set(train.labels.tolist()))
            assert found[:, absent] == pytest.approx(0, abs=1e-12)


def test_a_head_cannot_be_given_the_test_split() -> None:
    with pytest.raises(ValueError, match="a head was given the 'test' split; give train or val"):
        labelled("test", 9, 0)
    with pytest.raises(ValueError, match="features of 9, 9 images have 3 labels"):
        Labelled("val", blobs(9, 0)[0], np.zeros(3, np.int64))


def test_linear_probabilities_are_those_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    for num_classes in (2, 3):
        (train, labels), (test, _) = blobs(40, 5, num_classes=num_classes), blobs(12, 6, num_classes=num_classes)
        one = {"last": train["last"]}
        head = CLASS_HEADS["linear"].fit(
            Labelled("train", one, labels), Labelled("val", one, labels), settings(num_classes, regularization=(0.5,))
        )
        scaler = StandardScaler().fit(one["last"])
        model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=200).fit(scaler.transform(one["last"]), labels)
        expected = model.predict_proba(scaler.transform(test["last"]))
        assert head.probabilities({"last": test["last"]}) == pytest.approx(expected, abs=1e-4)


def test_two_grades_of_proportional_odds_are_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs(50, 7, num_classes=2)
    values = features["last"].astype(np.float64)
    direction, thresholds = fit_proportional_odds(values, labels, strength=0.3)
    model = LogisticRegression(C=0.3, tol=1e-10, max_iter=2000).fit(values, labels)
    assert direction == pytest.approx(model.coef_[0], abs=2e-3)
    assert -thresholds == pytest.approx(model.intercept_, abs=2e-3)


def test_proportional_odds_minimise_the_written_out_likelihood() -> None:
    features, labels = blobs(60, 8)
    values = features["last"].astype(np.float64)

    def loss(direction: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> float:
        total = 0.0
        for row, grade in zip(values, labels, strict=True):
            below = [0.0, *(1 / (1 + np.exp(-(threshold - row @ direction))) for threshold in thresholds), 1.0]
            total -= np.log(below[grade + 1] - below[grade])
        return float(0.4 * total + direction @ direction / 2)

    direction, thresholds = fit_proportional_odds(values, labels, strength=0.4)
    assert (np.diff(thresholds) > 0).all()
    best = loss(direction, thresholds)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert loss(direction + rng.normal(0, 0.02, 6), thresholds + rng.normal(0, 0.02, 2)) >= best - 1e-6
    found = cumulative_probabilities(np.array([0.0]), np.array([-np.log(3.0), np.log(3.0)]))
    assert found == pytest.approx(np.array([[0.25, 0.5, 0.25]]))


def test_the_grid_trains_as_autograd_and_sgd_do() -> None:
    features, labels = blobs(20, 9)  # fewer images than a batch, so a step sees all of them
    rate, steps = 0.1, 15
    found = train_grid(
        {"last": features["last"]},
        labels,
        num_classes=3,
        balanced=False,
        steps=steps,
        seed=0,
        device=CPU,
        learning_rates=(0.01, rate),
    )["last"]
    start = train_grid({"last": features["last"]}, labels, num_classes=3, balanced=False, steps=0, seed=0, device=CPU)["last"]
    scaled = torch.from_numpy(start.scaler(features["last"]))
    weight, bias = torch.nn.Parameter(start.weight[0].clone()), torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight, bias], lr=rate * 20 / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(scaled @ weight.T + bias, torch.from_numpy(labels)))
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(found.weight[1], weight.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.bias[1], bias.detach(), atol=1e-5, rtol=1e-4)


def test_all_52_heads_of_four_feature_sets_are_tried() -> None:
    (train, labels), (val, val_labels) = blobs(30, 1), blobs(15, 2)
    four = {name: train["last"] for name in ("last", "last4", "last+mean", "last4+mean")}
    probe = fit_linear_grid(
        four,
        labels,
        {name: val["last"] for name in four},
        val_labels,
        num_classes=3,
        metric="macro_f1",
        balanced=True,
        steps=30,
        seed=0,
        device=CPU,
    )
    assert (probe.num_tried, len(LEARNING_RATES)) == (52, 13)

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evaluation.heads import choose_k, fit_linear_probe, fit_segmentation_head, knn_predict
from evaluation.mask_scoring import score_masks, target_masks
from evaluation.tasks import read_task

CPU = torch.device("cpu")


def test_nearer_neighbours_outvote_more_numerous_ones() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.01, 1.0], [-0.01, 1.0]])
    labels = torch.tensor([0, 1, 1, 1])
    query = torch.tensor([[10.0, 1.0], [-1.0, 20.0]])  # length does not count
    predicted = knn_predict(gallery, labels, query, k=(1, 3, 99), num_classes=2)
    assert predicted.tolist() == [[0, 1], [0, 1], [0, 1]]
    flat = knn_predict(gallery, labels, query[:1], k=(4,), num_classes=2, temperature=100.0)
    assert flat.tolist() == [[1]]  # with equal weights the majority wins


def test_votes_are_the_softmax_over_all_fetched_neighbours_cut_to_k() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = torch.from_numpy(rng.normal(size=(40, 6))), torch.from_numpy(rng.normal(size=(9, 6)))
    labels = torch.from_numpy(rng.integers(0, 4, 40))
    unit_gallery = gallery.float() / gallery.float().norm(dim=1, keepdim=True)
    unit_queries = queries.float() / queries.float().norm(dim=1, keepdim=True)
    expected = []
    for k in (3, 10):
        rows = []
        for query in unit_queries:
            similarity = unit_gallery @ query
            nearest = similarity.argsort(descending=True)[:10]
            weights = torch.exp(similarity[nearest] / 0.07)
            rows.append(int(torch.zeros(4).index_add_(0, labels[nearest[:k]], (weights / weights.sum())[:k]).argmax()))
        expected.append(rows)
    assert knn_predict(gallery, labels, queries, k=(3, 10), num_classes=4, chunk=4).tolist() == expected


def test_the_best_k_on_validation_is_chosen_and_the_first_of_equals() -> None:
    labels = np.array([0, 1, 1, 0])
    predictions = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    assert choose_k(predictions, labels, k=(1, 5, 10), num_classes=2, metric="balanced_accuracy") == (1, 1.0)


def _blobs(rng: np.random.Generator, num: int, *, shift: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    labels = np.arange(num) % 3
    return (rng.normal(size=(num, 8)) + shift * np.eye(3, 8)[labels]).astype(np.float32), labels.astype(np.int64)


def test_the_probe_chooses_the_feature_set_that_separates_the_classes() -> None:
    rng = np.random.default_rng(1)
    train, train_labels = _blobs(rng, 90, shift=8)
    val, val_labels = _blobs(rng, 60, shift=8)
    test, test_labels = _blobs(rng, 60, shift=8)
    noise = {"train": rng.normal(size=(90, 8)).astype(np.float32), "val": rng.normal(size=(60, 8)).astype(np.float32)}
    probe = fit_linear_probe(
        {"noise": noise["train"], "signal": train * 1000 + 5},
        train_labels,
        {"noise": noise["val"], "signal": val * 1000 + 5},
        val_labels,
        regularization=(1e-3, 1.0),
        num_classes=3,
        metric="balanced_accuracy",
    )
    assert (probe.feature_set, probe.num_tried, probe.val_score) == ("signal", 4, 1.0)
    assert (probe.predict({"signal": test * 1000 + 5}) == test_labels).all()


def test_balanced_class_weights_find_a_rare_class() -> None:
    rng = np.random.default_rng(2)
    labels = (np.arange(400) % 20 == 0).astype(np.int64)
    features = (rng.normal(size=(400, 4)) + 1.5 * labels[:, None]).astype(np.float32)

    def recall(balanced: bool) -> float:
        probe = fit_linear_probe(
            {"x": features}, labels, {"x": features}, labels, regularization=(0.01,), num_classes=2, metric="accuracy", balanced=balanced
        )
        return float((probe.predict({"x": features})[labels == 1] == 1).mean())

    assert recall(True) > 0.8 > 0.2 > recall(False)


def test_the_segmentation_head_finds_squares_in_tokens_that_show_them(squares: Path) -> None:
    task = read_task(squares)
    rng = np.random.default_rng(3)

    def tokens(split: str) -> npt.NDArray[np.float16]:
        truth = target_masks(task.split(split), size=14)
        return np.stack([truth * 40 + 7, rng.normal(size=truth.shape), rng.normal(size=truth.shape)], axis=1).astype(np.float16)

    train, val, test = tokens("train"), tokens("val"), tokens("test")
    targets = {split: target_masks(task.split(split), size=28) for split in ("train", "val")}

    def fit() -> tuple[float, float, list[float]]:
        head = fit_segmentation_head(
            (train,), targets["train"], (val,), targets["val"], learning_rates=(1e-6, 0.03), epochs=25, seed=0, device=CPU
        )
        dices, ious = score_masks(head, (test,), task.split("test"), device=CPU)
        assert dices == pytest.approx(2 * ious / (1 + ious))
        return head.learning_rate, head.val_dice, dices.tolist()

    learning_rate, val_dice, dices = fit()
    assert learning_rate == 0.03
    assert val_dice > 0.85
    assert min(dices) > 0.8
    assert len(dices) == 6
    assert fit() == (learning_rate, val_dice, dices)


def test_heads_that_train_together_equal_heads_that_train_alone(squares: Path) -> None:
    task = read_task(squares)
    tokens = np.random.default_rng(4).normal(size=(18, 3, 7, 7)).astype(np.float16)
    targets = target_masks(task.split("train"), size=14)

    def fit(rates: tuple[float, ...]) -> tuple[float, int, torch.Tensor]:
        head = fit_segmentation_head((tokens,), targets, (tokens,), targets, learning_rates=rates, epochs=3, seed=0, device=CPU)
        return head.learning_rate, head.epoch, head.weight

    together = fit((0.01, 0.1))
    alone = fit((together[0],))
    assert alone[:2] == together[:2]
    torch.testing.assert_close(alone[2], together[2])


def test_target_masks_are_shares_of_foreground_thresholded_at_127(tmp_path: Path) -> None:
    from PIL import Image

    from evaluation.tasks.items import Item

    pixels = np.zeros((4, 4), np.uint8)
    pixels[:2, :2], pixels[2:, 2:], pixels[0, 3] = 255, 127, 128
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    item = Item(path="", mask=str(tmp_path / "mask.png"), split="train", group="")
    assert target_masks([item], size=2).tolist() == [[[1.0, 0.25], [0.0, 0.0]]]

"""PolypDiag and what Endo-FM calls CVC-12k: generated trees of the published layouts, and the published metric's special cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics import positive_f1
from evaluation.sequence_scores import endofm_volume_dice, sequence_means, sequence_scores
from evaluation.tasks import TaskError, resolve_task
from evaluation.tasks.items import Item
from evaluation.video.context_rows import neighbours


@pytest.fixture(scope="module")
def polypdiag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips, 30 in the train list and 12 in the validation list: two stand in both."""
    root = tmp_path_factory.mktemp("data") / "PolypDiag"
    (root / "videos").mkdir(parents=True)
    (root / "splits").mkdir()
    for number in range(40):
        (root / "videos" / f"{number}.mp4").write_bytes(b"clip %d" % number)
    for name, numbers in (("train", range(30)), ("val", range(28, 40))):
        (root / "splits" / f"{name}.txt").write_text("".join(f"{number}.mp4,{number % 2}\n" for number in numbers))
    return root


def test_the_published_lists_are_labelled(polypdiag: Path) -> None:
    task = resolve_task("polypdiag", polypdiag.parent, protocol="published")
    assert task.classes == ("normal", "polyp")
    assert Counter(item.split for item in task.items) == {"train": 24, "val": 6, "test": 12}
    assert "pretrained" in task.known_leak
    assert any("best on the scored clips" in note for note in task.notes)
    assert any("its val split is reported as test" in note for note in task.notes)
    assert (task.protocol.primary, task.clip_windows, task.has_clips) == ("f1", 4, True)
    # the two clips of both lists are seen by their groups, and do not hide what the publication's own leak is
    assert "(2 of 40 groups of polypdiag" in task.leaks()[0]
    assert "on which Endo-FM was pretrained" in task.leaks()[1]


def test_clean_folds_keep_clips_of_one_source_together(polypdiag: Path, tmp_path: Path) -> None:
    unknown = resolve_task("polypdiag", polypdiag)
    assert any("name no source videos" in note for note in unknown.notes)
    (polypdiag / "sources.csv").write_text("file,source\n" + "".join(f"{number}.mp4,v{number // 4}\n" for number in range(40)))
    try:
        folds = [resolve_task("polypdiag", polypdiag, fold=fold) for fold in range(5)]
        with pytest.raises(TaskError, match="fold is 5"):
            resolve_task("polypdiag", polypdiag, fold=5)
    finally:
        (polypdiag / "sources.csv").unlink()
    assert all(not task.leaks() for task in folds)
    tested = [item.path for task in folds for item in task.split("test")]
    assert len(tested) == len(set(tested)) == 40


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1.mp4,0", "the lists call 1.mp4 polyp and normal"),
        ("99.mp4,1", "names '99.mp4', which is not in"),
        ("1.mp4,2", "give a file and 0 or 1"),
    ],
)
def test_a_list_that_names_what_is_not_there_is_refused(polypdiag: Path, tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "splits").mkdir()
    (tmp_path / "videos" / "1.mp4").write_bytes(b"")
    for name in ("train", "val"):
        (tmp_path / "splits" / f"{name}.txt").write_text(f"1.mp4,1\n{line}\n")
    with pytest.raises(TaskError, match=sentence):
        resolve_task("polypdiag", tmp_path)


@pytest.fixture(scope="module")
def cvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """612 tiny frames in the published layout."""
    root = tmp_path_factory.mktemp("cvc")
    picture, mask = Image.new("RGB", (8, 6)), Image.fromarray(np.eye(6, 8, dtype=np.uint8) * 255)
    for folder, image in (("Original", picture), ("Ground Truth", mask)):
        (root / folder).mkdir()
        image.save(root / folder / "1.tif")
        for number in range(2, 613):
            (root / folder / f"{number}.tif").write_bytes((root / folder / "1.tif").read_bytes())
    return root


def test_the_published_list_of_cvc_has_its_leak(cvc: Path) -> None:
    task = resolve_task("cvc12k", cvc, protocol="published")
    test = task.split("test")
    assert len(test) == 171
    seen = {item.group for item in task.items if item.split != "test"}
    assert sum(item.group in seen for item in test) == 121
    assert len({item.group for item in test}) == 9
    assert "121 of 171 frames" in task.known_leak


def test_clean_folds_of_cvc_are_of_sequences(cvc: Path) -> None:
    folds = [resolve_task("cvc12k", cvc, fold=fold) for fold in range(5)]
    assert {task.num_folds for task in folds} == {5}
    assert all(not task.leaks() for task in folds)
    assert sorted(item.path for task in folds for item in task.split("test")) == sorted(item.path for item in folds[0].items)


def test_volume_dice_has_the_special_cases_of_the_released_code() -> None:
    predicted, truth = (np.zeros((2, 3, 4), bool) for _ in range(2))
    assert endofm_volume_dice(predicted, truth) == 0
    predicted.flat[[0, 1, 2, 3]] = True
    assert endofm_volume_dice(predicted, truth) == 1
    truth.flat[[1, 2, 3, 9, 10, 11]] = True
    assert endofm_volume_dice(predicted, truth) == pytest.approx(0.6)
    assert endofm_volume_dice(np.zeros_like(truth), truth) == 0


def test_sequences_count_alike() -> None:
    dice, groups = np.array([1.0, 0.0, 0.5, 0.5, 0.2]), np.array([0, 0, 1, 1, 1])
    np.testing.assert_allclose(sequence_means(dice, groups), [0.5, 0.4])
    masks = [np.ones((4, 4), bool)] * 5
    names = ("dice", "sequence_dice", "endofm_volume_dice")
    found = sequence_scores({"dice": dice}, masks, masks, groups, names=names, num_bootstrap=10, seed=0)
    assert {name: interval.value for name, interval in found.items()} == pytest.approx({"sequence_dice": 0.45, "endofm_volume_dice": 1.0})


def test_the_window_of_a_frame_stays_in_its_sequence() -> None:
    items = [Item(path=f"{number}.tif", split="test", group="a" if number < 13 else "b") for number in (10, 9, 11, 12, 13, 14, 8)]
    found = neighbours(items, num_frames=4)
    numbers = [([int(Path(item.path).stem) for item in window], place) for window, place in found]
    assert numbers == [
        ([8, 9, 10, 11], 2),
        ([8, 9, 10, 11], 1),
        ([9, 10, 11, 12], 2),
        ([9, 10, 11, 12], 3),
        ([13, 14, 14, 14], 0),
        ([13, 14, 14, 14], 1),
        ([8, 9, 10, 11], 0),
    ]
    assert [window for window, _ in neighbours(items, num_frames=1)] == [(item,) for item in items]


def test_f1_is_of_the_last_class() -> None:
    assert positive_f1(np.array([[5.0, 1.0], [2.0, 3.0]])) == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))

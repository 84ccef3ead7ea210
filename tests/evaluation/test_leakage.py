from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy import typing as npt
from PIL import Image

from curation.holdout import picture_correlation
from evaluation.leakage import LeakVerdict, find_leaks, patients_of
from evaluation.tasks import Item, TaskData, fingerprint


def texture(seed: int) -> Image.Image:
    """A picture with detail at several sizes, as mucosa has."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, n, 3)).astype(np.float32), (240, 200), interpolation=cv2.INTER_CUBIC) for n in (6, 16, 40)]
    return Image.fromarray(np.clip(sum(layers) * 80, 0, 255).astype(np.uint8))


def task_of(rows: Sequence[tuple[Path, str, str | None]]) -> TaskData:
    items = tuple(Item(path=str(p), split=s, group=g or str(p), label="ab"[n % 2]) for n, (p, s, g) in enumerate(rows))
    return TaskData(name="made", kind="classification", items=items, classes=("a", "b"))


def verdict_of(task: TaskData, *, looked: bool = True) -> LeakVerdict:
    return find_leaks(task, fingerprint(task).hashes, judge=picture_correlation if looked else None)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        texture(number).save(path)
    return paths


def test_pictures_that_share_nothing_are_clean_and_their_patients_unknown(pictures: list[Path]) -> None:
    splits = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    found = verdict_of(task_of([(p, s, None) for p, s in zip(pictures, splits, strict=True)]))
    assert found.details == {"leak": "clean", "patients": "unknown"}
    assert found.copies == ()


def test_copies_cut_by_four_pixels_and_compressed_are_found_under_other_names_and_patients(pictures: list[Path], tmp_path: Path) -> None:
    copies = []
    for number in (7, 8):
        copy = tmp_path / f"other-{number}.jpg"
        texture(number).crop((4, 4, 236, 196)).save(copy, quality=60)
        copies.append(copy)
    rows = [(p, "train", f"t{n}") for n, p in enumerate([*pictures[:5], *copies])]
    rows += [(p, "val", f"v{n}") for n, p in enumerate(pictures[5:7])] + [(p, "test", f"e{n}") for n, p in enumerate(pictures[7:])]
    found = verdict_of(task_of(rows))
    assert found.details == {"leak": "overlap 2", "patients": "known", "leak_kinds": "near 2"}
    assert [(copy.first, copy.second, copy.kind) for copy in found.copies] == [(5, 9, "near"), (6, 10, "near")]
    assert all(copy.correlation > 0.6 for copy in found.copies)
    assert verdict_of(task_of(rows), looked=False).word == "unknown"  # nothing found, and nothing looked for


@pytest.mark.parametrize("change", ["mirrored", "turned by five degrees", "cut to 85%", "darker"])
def test_altered_copies_are_found(pictures: list[Path], tmp_path: Path, change: str) -> None:
    picture = texture(9)
    altered = {
        "mirrored": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "turned by five degrees": picture.rotate(5),
        "cut to 85%": picture.crop((20, 10, 224, 180)),
        "darker": picture.point(lambda value: value * 0.6),
    }[change]
    altered.save(tmp_path / "altered.jpg", quality=70)
    rows = [(p, "train", None) for p in (*pictures[:5], tmp_path / "altered.jpg")] + [(p, "test", None) for p in pictures[7:]]
    found = verdict_of(task_of(rows))
    if change == "mirrored":  # proposed, but a mirrored picture does not lie over the other
        assert found.num_near in (0, 1)
    else:
        assert [(copy.first, copy.second) for copy in found.copies] == [(5, 8)]


def test_a_pair_that_only_an_embedding_proposes_is_a_kind_of_its_own_and_the_pixels_decide(pictures: list[Path], tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    texture(9).rotate(35).crop((50, 40, 190, 160)).save(turned)
    task = task_of([*((p, "train", None) for p in pictures[:5]), (pictures[9], "train", None), (turned, "test", None)])
    asked: list[tuple[list[int], list[int]]] = []

    def propose(later: np.ndarray, earlier: np.ndarray) -> list[list[tuple[int, float]]]:
        asked.append((later.tolist(), earlier.tolist()))
        return [[(0, 0.8), (5, 0.85)] for _ in later]

    hashes = fingerprint(task).hashes
    assert find_leaks(task, hashes, judge=picture_correlation).word == "clean"
    found = find_leaks(task, hashes, judge=picture_correlation, propose=propose)
    assert found.details == {"leak": "overlap 1", "patients": "unknown", "leak_kinds": "embedding 1"}
    assert [(copy.first, copy.second, copy.kind) for copy in found.copies] == [(5, 6, "embedding")]
    assert ([6], [0, 1, 2, 3, 4, 5]) in asked


def always_the_first(later: npt.NDArray[np.int64], earlier: npt.NDArray[np.int64], *, cosine: float) -> list[list[tuple[int, float]]]:
    return [[(0, cosine)]] * len(later)


def test_nearest_embeddings_are_one_scene_unless_the_data_names_two_patients(pictures: list[Path]) -> None:
    for groups, cosine, word in ((None, 0.89, "overlap 1"), (None, 0.87, "clean"), (("p", "q"), 0.99, "clean")):
        train, test = groups or (None, None)
        task = task_of([(pictures[0], "train", train), (pictures[1], "test", test)])
        propose = partial(always_the_first, cosine=cosine)
        found = find_leaks(task, fingerprint(task).hashes, judge=picture_correlation, propose=propose)
        assert found.word == word
        assert found.num_embedding == (word != "clean")


def test_of_crops_the_embedding_alone_does_not_decide(pictures: list[Path]) -> None:
    for first, second, word in ((None, None, "overlap 1"), ((0, 0, 90, 90), None, "clean"), (None, (0, 0, 90, 90), "clean")):
        task = task_of([(pictures[0], "train", None), (pictures[1], "test", None)])
        task = replace(task, items=tuple(replace(item, box=box) for item, box in zip(task.items, (first, second), strict=True)))
        propose = partial(always_the_first, cosine=0.99)
        assert find_leaks(task, fingerprint(task).hashes, judge=picture_correlation, propose=propose).word == word


def test_one_file_under_two_names_and_one_patient_in_two_splits_are_counted_apart(pictures: list[Path], tmp_path: Path) -> None:
    same = tmp_path / "same.png"
    same.write_bytes(pictures[4].read_bytes())
    rows = [(pictures[0], "train", "p0"), (pictures[4], "train", "p1"), (pictures[1], "val", "p0"), (same, "test", "p2")]
    rows += [(pictures[5], "test", "p1"), (pictures[6], "test", "p3")]
    found = verdict_of(task_of(rows))
    assert found.details == {"leak": "overlap 2", "patients": "known", "leak_kinds": "exact 1, group 1, val in train 1"}


def test_patients_that_only_some_items_name_are_a_state_of_their_own() -> None:
    items = [Item(path=f"/{n}.png", split="test", group="p" if n < 3 else f"/{n}.png", label="a") for n in range(5)]
    assert patients_of(items) == "unknown for 2 of 5"
    assert patients_of(items[:3]) == "known"
    assert patients_of([replace(item, group="") for item in items]) == "unknown"


def test_a_hash_is_wanted_of_each_item(pictures: list[Path]) -> None:
    with pytest.raises(ValueError, match="2 hashes were given for 3 items; give one per item"):
        find_leaks(task_of([(p, "test", None) for p in pictures[:3]]), ["a", "b"], judge=None)


@pytest.mark.real_data
def test_one_polyp_two_seconds_apart_is_found_in_two_splits_of_kvasir_seg(real_data: Path) -> None:
    folder = real_data / "kvasir_seg" / "images"
    rows = [(folder / f"train_{n:04d}.jpg", "train", None) for n in range(212, 232)]
    rows += [(folder / f"test_{n:04d}.jpg", "test", None) for n in range(10, 20)]
    found = verdict_of(task_of(rows))
    assert found.word == "overlap 1"
    (copy,) = found.copies
    assert [Path(rows[at][0]).name for at in (copy.first, copy.second)] == ["train_0222.jpg", "test_0016.jpg"]
    assert copy.correlation > 0.9


@pytest.mark.real_data
def test_the_published_list_of_cvc_clinicdb_tests_on_121_of_171_training_frames(real_data: Path) -> None:
    with (real_data / "splits" / "cvc_clinicdb_sequences.csv").open() as file:
        frames = list(csv.DictReader(file))
    rows: list[tuple[Path, str, str | None]] = []
    with (real_data / "splits" / "cvc_clinicdb_endofm_published.csv").open() as file:
        for part in csv.DictReader(file):
            first = int(part["first_frame"])
            for frame in frames[first - 1 : first - 1 + int(part["num_frames"])]:
                path = real_data / "cvc_clinicdb" / "images" / frame["file"]
                rows.append((path, part["split"], frame["sequence"]))
    found = verdict_of(task_of(rows), looked=False)
    assert (found.num_exact, sum(split == "test" for _, split, _ in rows)) == (121, 171)
    assert found.word == f"overlap {found.num_test}"
    assert found.num_test >= 121
    assert found.patients == "known"

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.embedding.config import EmbedConfig
from curation.privacy.config import OutOfBodyConfig
from curation.privacy.out_of_body_classifier import LabelledImages, fit_head, frames_outside, read_labels, score_part
from warehouse.records import EmbeddingPart
from warehouse.store import write_parquet


def labelled(separation: float, num_each: int = 100, num_groups: int = 20) -> LabelledImages:
    rng = np.random.default_rng(0)
    is_outside = np.repeat([False, True], num_each)
    vectors = rng.normal(0, 1, (2 * num_each, 8)).astype(np.float32)
    vectors[:, 0] += separation * is_outside
    groups = tuple(f"{side}-{number % num_groups}" for side in (0, 1) for number in range(num_each))
    return LabelledImages(labels_id="x", vectors=vectors, is_outside=is_outside, groups=groups, unreadable=())


def test_the_threshold_finds_as_many_as_asked_at_the_fewest_false_alarms() -> None:
    sure = fit_head(labelled(8.0), OutOfBodyConfig())
    assert (sure.auc, sure.sensitivity, sure.false_alarms) == (1.0, 0.99, 0.0)
    hard = fit_head(labelled(2.0), OutOfBodyConfig(sensitivity=0.9))
    assert 0.85 < hard.auc < 0.97  # normals two standard deviations apart: 0.92
    assert hard.sensitivity == 0.9
    careful = fit_head(labelled(2.0), OutOfBodyConfig(sensitivity=0.99))
    assert careful.sensitivity == 0.99
    assert careful.threshold < hard.threshold
    assert careful.false_alarms > hard.false_alarms
    assert fit_head(labelled(0.0), OutOfBodyConfig()).auc < 0.65


def test_images_of_one_procedure_are_not_tested_on_each_other() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 5, (10, 8))  # a procedure looks like itself, whatever its class
    vectors = (centres.repeat(20, axis=0) + rng.normal(0, 0.1, (200, 8))).astype(np.float32)
    is_outside = np.arange(200) // 20 % 2 == 1
    together = LabelledImages(
        labels_id="x", vectors=vectors, is_outside=is_outside, groups=tuple(str(number // 20) for number in range(200)), unreadable=()
    )
    apart = LabelledImages(
        labels_id="x", vectors=vectors, is_outside=is_outside, groups=tuple(str(number) for number in range(200)), unreadable=()
    )
    assert fit_head(apart, OutOfBodyConfig()).auc > 0.95  # fooled by its own procedure
    assert fit_head(together, OutOfBodyConfig()).auc < 0.8
    with pytest.raises(ValueError, match="expected 2 or more"):
        fit_head(labelled(8.0, num_groups=1), OutOfBodyConfig())


def test_scores_of_a_part_are_those_of_the_regression(tmp_path: Path) -> None:
    images = labelled(8.0)
    head = fit_head(images, OutOfBodyConfig())
    vectors = pa.array([row.tolist() for row in images.vectors.astype(np.float16)], pa.list_(pa.float16()))
    ids = [f"f{number}" for number in range(200)]
    as_before = pa.schema({"frame_id": pa.string(), "embedding": pa.list_(pa.float16())})
    write_parquet(tmp_path / "part.parquet", pa.table({"frame_id": ids, "embedding": vectors}, schema=as_before))  # lists of variable size
    part = EmbeddingPart(part_id="p", pack_id="k", encoder_id="e", path="part.parquet", num_frames=200, dim=8)
    scored = pq.read_table(score_part(part, lake_root=str(tmp_path), head=head, folder=str(tmp_path / "scores")))
    assert scored["frame_id"].to_pylist() == ids
    assert ((scored["score"].to_numpy() >= head.threshold) == images.is_outside).all()


def test_smoothing_stays_within_a_video(tmp_path: Path) -> None:
    scores = {"a": [0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1], "b": [0.1, 0.1, 0.95, 0.1]}
    rows = [(video, f"{video}{number}", score) for video, given in scores.items() for number, score in enumerate(given)]
    table = pa.table(dict(zip(("video_id", "frame_id", "score"), map(list, zip(*rows, strict=True)), strict=True)))
    write_parquet(tmp_path / "s.parquet", table)
    found = frames_outside(tmp_path / "s.parquet", threshold=0.6, window=3)
    assert list(found) == [("a0", 0.9), ("a1", 0.9), ("a2", 0.9), ("a3", 0.9), ("b2", 0.95)]
    assert len(list(frames_outside(tmp_path / "s.parquet", threshold=0.92, window=1))) == 1


def test_labels_are_read_by_content_and_what_is_no_image_is_named(tmp_path: Path) -> None:
    for name, color in (("inside", (190, 90, 70)), ("outside", (90, 120, 160))):
        for number in range(10):
            path = tmp_path / name / ("case 1" if number < 4 else "") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), (color[0] + number, *color[1:])).save(path)
    (tmp_path / "inside" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    (tmp_path / "inside" / "notes.txt").write_text("no picture")
    read = read_labels(tmp_path, EmbedConfig(device="cpu"))
    assert read.vectors.shape == (20, 1280)
    assert read.is_outside.tolist() == [False] * 10 + [True] * 10
    assert read.unreadable == (str(tmp_path / "inside" / "broken.jpg"),)
    assert read.groups[:6] == ("inside/4.png", "inside/5.png", "inside/6.png", "inside/7.png", "inside/8.png", "inside/9.png")
    assert read.groups[6:10] == ("case 1",) * 4
    (tmp_path / "outside" / "9.png").unlink()
    with pytest.raises(ValueError, match=r"outside holds 9 readable images, expected 10 or more"):
        read_labels(tmp_path, EmbedConfig(device="cpu"))

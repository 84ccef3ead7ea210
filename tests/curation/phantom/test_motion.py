from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np

from curation.phantom import PhantomConfig, phantom_motion_patient, write_motion_index


def _frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_both_clips_of_a_pair_hold_the_same_pictures_in_reverse_order(tmp_path: Path) -> None:
    config = PhantomConfig(num_train_videos=1, num_eval_patients=4, size=64, motion_pairs=1)
    evidence = [phantom_motion_patient(patient, out_dir=str(tmp_path), config=config) for patient in (1, 2)]
    assert write_motion_index(evidence, out_dir=str(tmp_path), config=config) == 4
    with (tmp_path / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["insertion", "withdrawal"] * 2
    assert [(row["split"], row["group"]) for row in rows] == [("train", "patient_001")] * 2 + [("val", "patient_002")] * 2
    forward, backward = (_frames(tmp_path / row["video"]) for row in rows[:2])
    assert len(forward) == 25
    np.testing.assert_array_equal(forward, backward[::-1])
    assert np.abs(forward[0].astype(int) - forward[-1]).mean() > 3  # the camera moves
    before = (tmp_path / rows[0]["video"]).stat().st_mtime_ns
    phantom_motion_patient(1, out_dir=str(tmp_path), config=config)
    assert (tmp_path / rows[0]["video"]).stat().st_mtime_ns == before

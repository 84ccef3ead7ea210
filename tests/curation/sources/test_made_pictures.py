"""Pictures that EndoForge wrote never come back as new stills, in a lake or outside."""

from pathlib import Path

import pytest

from curation.sources import find_videos


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_labelling_and_predictions_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "one.mp4", "theirs/selection.json", "theirs/a.jpg")
    touch(tmp_path / "lake", "catalog.sqlite", "tables/x", "labels/ab/images/00001_f.jpg", "evaluations/cd/x.png")
    touch(tmp_path / "round1", "selection.json", "labels.csv", "images/00001_f.jpg", "labelled/images/00001_f.jpg")
    touch(tmp_path / "told", "predictions.csv", "overlays/001-one.mp4", "masks/0.png")
    lakes: set[str] = set()
    found = find_videos([str(tmp_path)], lakes=lakes)
    assert [Path(video.path).relative_to(tmp_path).as_posix() for video in found] == ["one.mp4", "theirs/a.jpg"]
    assert lakes == {str(tmp_path / name) for name in ("lake", "round1", "told")}
    for named in ("round1", "round1/labelled/images", "told/overlays"):
        with pytest.raises(FileNotFoundError, match="but what select-for-labels or predict wrote to"):
            find_videos([str(tmp_path / named)])

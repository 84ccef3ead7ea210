"""A hold-out through the command line: a frame of a phantom video, encoded anew, takes its video out of the dataset and is on record."""

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from curation.holdout.find import _search
from evaluation.config import EvaluateConfig
from evaluation.tasks import Item
from flows.cli.cli import main
from flows.stages.leak_search import num_near_training
from tests.flows.conftest import make_archive
from warehouse.lake import open_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("holdout")
    make_archive(folder / "archive", ("one.mp4", "two.mp4"))
    assert (
        main(["ingest", str(folder / "archive"), "--lake", str(folder / "lake"), "--fps", "4", "--text", "off", "--runner", "serial"]) == 0
    )
    assert main(["embed", "--lake", str(folder / "lake"), "--runner", "serial"]) == 0
    return folder / "lake"


def curate(lake: Path, name: str, *options: str | Path) -> int:
    return main(["curate", "--lake", str(lake), "--name", name, "--size", "10", "--runner", "serial", *map(str, options)])


def test_a_copy_of_a_frame_takes_its_video_along_and_is_recorded(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_lake(lake, read_only=True) as opened:
        frame = opened.rows(
            """SELECT c.*, v.uri FROM candidates c JOIN current_videos v USING (video_id)
               WHERE v.uri LIKE '%one.mp4' ORDER BY c.blur DESC LIMIT 1"""
        )[0]
    jpeg = (lake / frame["pack_path"]).read_bytes()[frame["byte_offset"] : frame["byte_offset"] + frame["byte_size"]]
    picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    (tmp_path / "test set").mkdir()
    changed = cv2.convertScaleAbs(cv2.resize(picture, None, fx=1.4, fy=1.4), alpha=1.1, beta=5)
    cv2.imwrite(str(tmp_path / "test set/held.jpg"), changed, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert curate(lake, "clean", "--holdout", tmp_path / "test set") == 0
    assert "1 pictures held out" in capsys.readouterr().err
    with open_lake(lake, read_only=True) as opened:
        matches = opened.rows("FROM holdout_matches")
        own = next(row for row in matches if row["frame_id"] == frame["frame_id"])
        assert (own["reference"], own["via_frame_id"]) == ("test set/held.jpg", None)
        assert own["correlation"] > 0.6
        assert own["match"] in ("perceptual", "embedding")
        candidates = opened.rows("SELECT count(*) AS n FROM candidates WHERE video_id = $1", [frame["video_id"]])
        assert len([row for row in matches if row["video"].endswith("one.mp4")]) == candidates[0]["n"]
        assert opened.rows(
            "SELECT count(*) AS n FROM shard_frames JOIN datasets d USING (dataset_id) JOIN frames f USING (frame_id) "
            "WHERE d.name = 'clean' AND f.video_id = $1",
            [frame["video_id"]],
        ) == [{"n": 0}]
        (held,) = opened.rows("SELECT num_frames FROM dataset_funnel WHERE name = 'clean' AND step = 'held out'")
        assert held["num_frames"] == len(matches)
        (dataset,) = opened.rows("SELECT dataset_id FROM datasets WHERE name = 'clean'")
    assert main(["lineage", "--lake", str(lake), dataset["dataset_id"]]) == 0
    lineage = capsys.readouterr().out
    assert "holdout_list" in lineage
    assert str(tmp_path) not in lineage
    assert curate(lake, "clean", "--holdout", tmp_path / "test set") == 0
    assert "pictures held out" not in capsys.readouterr().err  # it was done before
    cv2.imwrite(str(tmp_path / "test set/more.jpg"), changed[::2, ::2])
    assert curate(lake, "more", "--holdout", tmp_path / "test set") == 0
    assert "2 pictures held out" in capsys.readouterr().err


@pytest.mark.drill
def test_ray_finds_the_same(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(lake.parent / "archive" / "one.mp4", tmp_path / "videos" / "any.mp4")
    with (tmp_path / "videos" / "any.mp4").open("ab") as film:  # another file by its hash, so its frames have to be found
        film.write(b"\0\0\0\x08free")
    found = []
    for runner in ("serial", "ray"):
        copy = Path(shutil.copytree(lake, tmp_path / runner))
        options = ("--name", "set", "--size", "10", "--runner", runner, "--workers", "2")
        assert main(["curate", "--lake", str(copy), *options, "--holdout", str(tmp_path / "videos"), "--holdout-scope", "frame"]) == 0
        with open_lake(copy, read_only=True) as opened:
            found.append([opened.rows(f"FROM {table} ORDER BY ALL") for table in ("holdout", "similarities", "selections")])
    assert found[0] == found[1]
    assert any(row["correlation"] is not None for row in found[0][0])


def test_naming_nothing_changes_nothing(lake: Path) -> None:
    assert curate(lake, "all") == 0
    with open_lake(lake, read_only=True) as opened:
        keys = opened.rows(
            """SELECT r.config, count(*) FILTER (a.kind = 'holdout') AS num_holdouts FROM runs r JOIN edges e ON e.run_id = r.run_id
               JOIN artifacts a USING (artifact_id) WHERE r.stage = 'dedup' AND e.direction = 'input' GROUP BY r.run_id, r.config"""
        )
        assert [row for row in keys if not row["num_holdouts"]]
        assert "holdout" not in next(row for row in keys if not row["num_holdouts"])["config"]
        assert opened.rows("FROM dataset_funnel WHERE name = 'all' AND step = 'held out'") == []


def test_a_renamed_video_is_held_out_by_content_and_that_nothing_is_left_is_said(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(lake.parent / "archive" / "two.mp4", tmp_path / "renamed.mp4")
    (tmp_path / "held.csv").write_text("uri\nrenamed.mp4\n")
    assert curate(lake, "byvideo", "--holdout", tmp_path / "held.csv", "--holdout-scope", "frame") == 0
    with open_lake(lake, read_only=True) as opened:
        kinds = opened.rows("SELECT DISTINCT video.parse_filename() AS video, match, reference FROM holdout_matches WHERE match = 'video'")
    assert kinds == [{"video": "two.mp4", "match": "video", "reference": "renamed.mp4"}]
    (tmp_path / "names.csv").write_text("video\none\ntwo.mp4\n")
    assert curate(lake, "none", "--holdout", tmp_path / "names.csv") == 1
    assert "every candidate is held out" in capsys.readouterr().err


def test_an_interrupted_search_goes_on_with_the_parts_that_are_missing(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite(str(tmp_path / "set/held.png"), np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    monkeypatch.setattr("flows.stages.holdout.FRAMES_PER_PART", 1)  # so each video's pack is a part
    searched: list[int] = []

    def search(*arguments: Any) -> Any:
        searched.append(len(arguments[0]))
        if len(searched) == 2:
            raise RuntimeError("the power is gone")
        return _search(*arguments)

    monkeypatch.setattr("curation.holdout.find._search", search)
    assert curate(lake, "resumed", "--holdout", tmp_path / "set") == 1
    assert "the power is gone" in capsys.readouterr().err
    assert len(searched) == 2
    monkeypatch.setattr("curation.holdout.prepare.embed_images", None)  # the pictures are not embedded again
    assert curate(lake, "resumed", "--holdout", tmp_path / "set") == 0
    assert "1 pictures held out; 0 frames are copies" in capsys.readouterr().err
    assert len(searched) == 3
    assert not list((lake / "staging" / "holdout").iterdir())


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_every_real_picture_is_found_that_lies_in_the_pool_itself(tmp_path: Path) -> None:
    """Of these sequences many frames are dull and have the hash of a dozen others, and still the right one must be compared."""
    real_data = Path(os.environ["ENDOFORGE_REAL_DATA"])
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(26, 66):
        shutil.copy(real_data / "cvc_clinicdb" / "images" / f"{number:03d}.jpg", pool)
    lake = tmp_path / "lake"
    assert main(["ingest", str(pool), "--text", "off", "--lake", str(lake), "--runner", "serial"]) == 0
    assert main(["embed", "--lake", str(lake), "--runner", "serial"]) == 0
    assert curate(lake, "none", "--holdout", pool) == 1  # nothing is left
    with open_lake(lake, read_only=True) as opened:
        kept = opened.rows("SELECT frame_id, format('pool/{:03d}.jpg', 26 + pts_us // 1000000) AS name FROM candidates")
        matches = {row["frame_id"]: row["reference"] for row in opened.rows("FROM holdout_matches")}
    assert len(kept) > 30
    assert [row["name"] for row in kept if row["frame_id"] not in matches] == []


def test_a_test_image_that_shows_a_training_frame_is_counted(lake: Path, tmp_path: Path) -> None:
    assert curate(lake, "plain") == 0
    with open_lake(lake, read_only=True) as opened:
        (dataset,) = opened.rows("SELECT dataset_id FROM datasets WHERE name = 'plain'")
        frame = opened.rows(
            """SELECT c.* FROM candidates c JOIN shard_frames s USING (frame_id)
               WHERE s.dataset_id = $1 ORDER BY c.blur DESC LIMIT 1""",
            [dataset["dataset_id"]],
        )[0]
        jpeg = (lake / frame["pack_path"]).read_bytes()[frame["byte_offset"] : frame["byte_offset"] + frame["byte_size"]]
        picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
        changed = cv2.convertScaleAbs(cv2.resize(picture, None, fx=1.4, fy=1.4), alpha=1.1, beta=5)
        noise = np.random.default_rng(0).integers(0, 256, picture.shape).astype(np.uint8)
        pictures = {"copy": changed, "mirrored": cv2.flip(changed, 1), "other": noise}
        for name, pixels in pictures.items():
            cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        items = [Item(path=str(tmp_path / f"{name}.png"), split="test", group=name) for name in pictures]
        config = EvaluateConfig(num_workers=1)
        assert num_near_training(opened, items, [dataset["dataset_id"]], config) == 2
        assert num_near_training(opened, items[2:], [dataset["dataset_id"]], config) == 0
        assert num_near_training(opened, items, ["no such dataset"], config) is None

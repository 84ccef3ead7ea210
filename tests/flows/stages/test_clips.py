"""`curate --clips` from an ingested and embedded lake to a dataset of clips, and what the lake says of it afterwards."""

import base64
import io
import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import webdataset

from flows.cli.cli import main
from flows.runners.runners import SerialRunner
from flows.stages.datasets import verify_dataset
from tests.helpers.clips import FORMATS, moving_picture, write_clip
from tests.helpers.films import room
from warehouse.ancestry import LineageNode, lineage
from warehouse.clips import clip_strips
from warehouse.dataset_audit import dataset_audit
from warehouse.dataset_queries import dataset_named
from warehouse.lake import Lake, open_lake

OPTIONS = ["--clips", "--clip-seconds", "2", "--clip-fps", "10", "--clip-side", "64", "--clip-min-frames", "8"]


def pictures(video: int, seconds: int) -> list[np.ndarray]:
    return [moving_picture(12 * video + 2 * number, 128, 96) for number in range(10 * seconds)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    films = folder / "films"
    films.mkdir()
    write_clip(films / "long.mp4", pictures(0, 7), FORMATS["h264-mp4"])
    write_clip(films / "room.mkv", pictures(1, 4) + [room(7)[:96, :128].astype(np.uint8)] * 30, FORMATS["h264-mkv"])
    write_clip(films / "held.mp4", pictures(2, 4), FORMATS["h264-mp4"])
    root = folder / "lake"
    at = ["--lake", str(root), "--runner", "serial"]
    (folder / "held-out").mkdir()
    (folder / "held-out" / "list.csv").write_text("video\nheld.mp4\n")
    assert main(["ingest", str(films), "--text", "off", "--settle-s", "0", "--max-hash-distance", "0", "--min-blur", "0", *at]) == 0
    assert main(["embed", "--image-size", "64", *at]) == 0
    holdout = ["--holdout", str(folder / "held-out" / "list.csv")]
    assert main(["curate", "--name", "set", "--size", "3", "--nested", "2", *OPTIONS, *holdout, "--dedup-threshold", "0.9999", *at]) == 0
    return root


def labels(node: LineageNode) -> str:
    return "\n".join([node.label, *map(labels, node.children)])


def opened(root: Path) -> Lake:
    return open_lake(root, read_only=True)


def test_the_dataset_holds_clips_of_videos_that_are_not_held_out(lake: Path) -> None:
    with opened(lake) as reader:
        assert verify_dataset(reader, SerialRunner(), "set") == ()
        kinds = reader.rows("SELECT name, kind, num_images FROM datasets ORDER BY name")
        held = reader.rows("SELECT video_id FROM latest_videos WHERE uri LIKE '%held.mp4'")[0]["video_id"]
        assert held not in {row["video_id"] for row in reader.rows("SELECT DISTINCT video_id FROM shard_clips JOIN clips USING (clip_id)")}
    assert [(row["kind"], row["num_images"]) for row in kinds] == [("clips", 3), ("clips", 2)]
    names: dict[str, set[str]] = {name: set() for name in ("set", "set-2")}
    for name, found in names.items():
        tars = sorted(map(str, (lake / "shards" / name).glob("*.tar")))
        for sample in webdataset.WebDataset(tars, shardshuffle=False):
            said = json.loads(sample["json"])
            found.add(said["clip_id"])
            assert (said["fps"], said["width"], said["height"], said["group"]) == (10, 86, 64, said["video_id"])
            with av.open(io.BytesIO(sample["mp4"]), "r") as container:
                assert sum(1 for _ in container.decode(video=0)) == said["num_frames"]
    assert names["set-2"] < names["set"]
    assert (lake / "previews" / "clips-set.jpg").read_bytes().startswith(b"\xff\xd8")
    assert "clips of gastrointestinal endoscopy" in (lake / "shards" / "set" / "README.md").read_text()


def test_the_lake_says_what_was_kept_refused_and_made_of_what(lake: Path) -> None:
    with opened(lake) as reader:
        steps = reader.rows("SELECT step, reason, num_clips FROM clip_funnel")
        per_video = reader.rows("SELECT uri, num_clips, num_kept, num_clips_in_datasets FROM clips_per_video")
        funnel = {row["step"]: row["num_frames"] for row in reader.rows("FROM dataset_funnel WHERE name = 'set'")}
        clip_id = reader.rows("SELECT clip_id FROM shard_clips ORDER BY clip_id LIMIT 1")[0]["clip_id"]
        origins, uses = (labels(tree) for tree in lineage(reader, clip_id))
        shard = labels(lineage(reader, "set-000000")[0])
        origin_of_set = labels(lineage(reader, "set")[0])
    counts = {(row["step"], row["reason"]): row["num_clips"] for row in steps}
    assert counts["cut", None] == sum(count for (step, _), count in counts.items() if step != "cut")
    assert counts["kept", None] == sum(row["num_kept"] for row in per_video)
    assert {row["uri"].rpartition("/")[2] for row in per_video} == {"long.mp4", "room.mkv", "held.mp4"}
    assert funnel["selected"] == funnel["in shards"] == 3
    assert "frame " in origins
    assert "video " in origins
    assert "dataset " in uses
    assert "clips of video" in shard
    assert "clip_pack" in origin_of_set


def test_vectors_that_are_not_there_any_more_are_made_again(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(lake / "clip_vectors")
    holdout = ["--holdout", str(lake.parent / "held-out" / "list.csv")]
    at = ["--lake", str(lake), "--runner", "serial", "--dedup-threshold", "0.9999"]
    assert main(["curate", "--name", "again", "--size", "2", *OPTIONS, *holdout, *at]) == 0
    said = capsys.readouterr()
    assert "the vectors are made again" in said.out + said.err
    assert list((lake / "clip_vectors").glob("*/parts.json"))


def verdict_on(root: Path) -> tuple[str, str, int]:
    """What the record and the view say of the dataset `set`, and how many clips are current."""
    with opened(root) as reader:
        status = reader.rows("SELECT status FROM dataset_audits WHERE dataset = 'set'")[0]["status"]
        verdict = dataset_audit(reader, dataset_named(reader, "set").dataset_id)
        return verdict.status, status, reader.rows("SELECT count(*) AS num FROM current_clips WHERE keep")[0]["num"]


def test_clips_are_audited_by_themselves_and_found_ones_go(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = shutil.copytree(lake, tmp_path / "lake")
    audit = ["privacy-audit", "--lake", str(root)]
    assert main(audit) == 0
    _, _, num_clips = verdict_on(root)
    assert verdict_on(root) == ("not audited", "not audited", num_clips)  # a look at frames says nothing of clips
    assert main([*audit, "--dataset", "set"]) == 0
    said = capsys.readouterr()
    assert "3 clips in" in said.out + said.err
    with opened(root) as reader:
        (row,) = reader.rows("SELECT audit_id, sheet FROM audit_status WHERE dataset_id IS NOT NULL")
    page = (root / row["sheet"]).read_text()
    assert "Look at all 3 clips" in page
    pictures = json.loads(page.partition('id="pictures">')[2].partition("</script>")[0])
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (5 * 160, 5 * (215 + 2), 3)
    sign = [*audit, "--sign-off", row["audit_id"], "--reviewer", "A"]
    assert main(sign) == 0
    assert verdict_on(root) == ("clean", "clean", num_clips)
    assert main([*sign, "--found", "1"]) == 0
    assert verdict_on(root)[:2] == ("findings", "findings")
    with opened(root) as reader:
        left = {found["clip_id"] for found in reader.rows("SELECT clip_id FROM current_clips WHERE keep")}
        spared = reader.rows("FROM clip_frames ANTI JOIN removals USING (frame_id) WHERE clip_id = $1", [pictures[0]["id"]])
        (found,) = reader.rows("SELECT num_findings, num_random FROM audit_status WHERE dataset_id IS NOT NULL")
    assert pictures[0]["id"] not in left
    assert spared == []
    assert (found["num_findings"], found["num_random"]) == (1, 3)


def test_clips_are_those_of_the_cutting_that_was_packed(lake: Path, tmp_path: Path) -> None:
    with open_lake(shutil.copytree(lake, tmp_path / "lake")) as again:
        dataset = dataset_named(again, "set")
        before = clip_strips(again, dataset.dataset_id, 9)
        clips = again.query("SELECT * REPLACE (cut_key || '-' AS cut_key, 'other' AS sha256) FROM clips WHERE keep")
        refused = again.query("SELECT * REPLACE ('0' AS cut_key, false AS keep, NULL AS byte_offset, NULL AS sha256) FROM clips WHERE keep")
        videos = again.query("SELECT * REPLACE (cut_key || '-' AS cut_key, 'other' AS pack_id) FROM clip_videos")
        nothing = again.query("SELECT * REPLACE ('0' AS cut_key, NULL AS pack_id, NULL AS path) FROM clip_videos")
        with again.transaction():
            for table, rows in (("clips", clips), ("clips", refused), ("clip_videos", videos), ("clip_videos", nothing)):
                again.append(table, rows)
        assert clip_strips(again, dataset.dataset_id, 9) == before
        assert verify_dataset(again, SerialRunner(), "set") == ()


def test_a_rerun_with_nothing_new_says_so(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holdout = ["--holdout", str(lake.parent / "held-out" / "list.csv")]
    at = ["--lake", str(lake), "--runner", "serial", "--dedup-threshold", "0.9999"]
    assert main(["curate", "--name", "set", "--size", "3", "--nested", "2", *OPTIONS, *holdout, *at]) == 0
    said = capsys.readouterr()
    assert "clips: nothing new, 3 videos known already" in said.out + said.err
    assert "dataset 'set' is there already" in said.out + said.err


def test_plan_with_clips_is_refused(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", "--lake", str(lake), "--name", "x", "--size", "3", "--clips", "--plan"]) != 0
    assert "got --plan with --clips" in capsys.readouterr().err

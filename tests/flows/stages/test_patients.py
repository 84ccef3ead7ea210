"""One content that is listed under two patients or lies in two places: both count, for hold-out, caps and erasure."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.holdout.list import read_holdout
from curation.holdout.names import KnownVideo, named_videos
from curation.ingest.config import IngestConfig
from curation.selection.config import SampleConfig
from curation.selection.select import select_frames
from curation.sources.manifest import patient_key, pseudonym
from flows.job import Job
from flows.runners.runners import SerialRunner
from flows.stages.ingest import run_ingest
from tests.helpers.films import tissue, write_video
from warehouse.holdout import known_videos
from warehouse.lake import Lake, open_lake

KEY = "0123456789abcdef0123456789abcdef"
P1, P2, P3 = (pseudonym(name, KEY.encode()) for name in ("p1", "p2", "p3"))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY", KEY)
    with open_lake(tmp_path / "lake", create=True) as opened:
        yield opened


def ingest(lake: Lake, tmp_path: Path, *rows: str) -> None:
    (tmp_path / "m.csv").write_text("\n".join(["uri,patient,site", *rows]))
    run_ingest(Job(lake=lake, runner=SerialRunner()), [str(tmp_path / "m.csv")], config=IngestConfig(text="off", settle_s=0))


@pytest.fixture
def shared(lake: Lake, tmp_path: Path) -> Lake:
    """A video of p1 and p2 at two sites, and one of p2 alone."""
    content = write_video(tmp_path / "a" / "video.mp4", [tissue(number) for number in range(3)]).read_bytes()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "copy.mp4").write_bytes(content)
    write_video(tmp_path / "b" / "other.mp4", [tissue(number + 9) for number in range(3)])
    ingest(lake, tmp_path, "a/video.mp4,p1,Ward 7", "b/copy.mp4,p2,Ward 8", "b/other.mp4,p2,Ward 8")
    return lake


def test_both_patients_are_known_and_it_is_said_at_ingest(shared: Lake, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    infos = {
        Path(row["uri"]).name: row for row in shared.rows("SELECT v.uri, i.* FROM current_videos v JOIN video_info i USING (video_id)")
    }
    assert (infos["video.mp4"]["patient_ids"], infos["video.mp4"]["sites"]) == (sorted([P1, P2]), ["Ward 7", "Ward 8"])
    assert (infos["other.mp4"]["patient_ids"], infos["other.mp4"]["sites"]) == ([P2], ["Ward 8"])
    capsys.readouterr()
    ingest(shared, tmp_path, "a/video.mp4,p1,Ward 7", "b/copy.mp4,p2,Ward 8")
    said = capsys.readouterr().err
    assert "1 contents are listed under several patients, and all of these count for hold-out, caps and erasure" in said
    assert f"the first is at {(tmp_path / 'a/video.mp4').as_uri()}, {(tmp_path / 'b/copy.mp4').as_uri()}" in said


def test_the_lake_answers_what_a_patient_has_copies_included(shared: Lake) -> None:
    found = shared.rows("SELECT uri, is_ingested, reject_reason FROM patient_videos WHERE patient_id = $1 ORDER BY uri", [P2])
    assert [(Path(row["uri"]).name, row["is_ingested"], row["reject_reason"]) for row in found] == [
        ("copy.mp4", True, "duplicate"),
        ("other.mp4", True, None),
    ]


@pytest.mark.parametrize(("patient", "expected"), [("p1", {"video.mp4"}), ("p2", {"video.mp4", "other.mp4"}), ("p3", set())])
def test_a_hold_out_of_either_patient_holds_the_video_out(patient: str, expected: set[str], shared: Lake, tmp_path: Path) -> None:
    (tmp_path / "held.csv").write_text(f"patient\n{patient}\n")
    rows = known_videos(shared)
    videos = [KnownVideo(**{**row, "uris": tuple(row["uris"]), "patient_ids": frozenset(row["patient_ids"])}) for row in rows]
    names = {video.video_id: Path(video.uris[0]).name for video in videos}
    held = named_videos(videos, read_holdout([str(tmp_path / "held.csv")], patient_key()))
    assert {names[video_id] for video_id in held} == expected


def test_a_later_manifest_corrects_a_place_and_a_moved_file_takes_its_patient_along(shared: Lake, tmp_path: Path) -> None:
    def patients() -> list[list[str]]:
        return [row["patient_ids"] for row in shared.rows("SELECT patient_ids FROM video_info ORDER BY len(patient_ids), patient_ids")]

    ingest(shared, tmp_path, "b/copy.mp4,p3,")
    assert patients() == [[P2], sorted([P1, P3])]
    (tmp_path / "b" / "other.mp4").rename(tmp_path / "b" / "moved.mp4")
    run_ingest(Job(lake=shared, runner=SerialRunner()), [str(tmp_path / "b")], config=IngestConfig(text="off", settle_s=0))
    assert patients() == [[P2], sorted([P1, P3])]
    ingest(shared, tmp_path, "b/moved.mp4,p3,")  # it was never p2's: the place that says so is left
    assert patients() == [[P3], sorted([P1, P3])]


def test_a_frame_of_two_patients_counts_for_the_cap_of_each(tmp_path: Path) -> None:
    num = 12
    patients = ["p1"] * 4 + ["p2"] * 4 + ["p1"] * 4
    second = [None] * 8 + ["p2"] * 4
    table = {
        "frame_id": [f"{number:04d}" for number in range(num)],
        "video_id": [f"v{number // 4}" for number in range(num)],
        "cluster_path": pa.array([[0]] * num, pa.list_(pa.int32())),
        "distance": np.zeros(num, np.float32),
        "patient_id": patients,
        "patient_id_2": pa.array(second, pa.string()),
    }
    pq.write_table(pa.table(table), tmp_path / "clustered.parquet")
    config = SampleConfig(max_per_patient=3)
    _, counts = select_frames(
        tmp_path / "clustered.parquet", lake_root=tmp_path, out=tmp_path / "out.parquet", size=num, config=config, seed=0
    )
    chosen = [int(frame) for frame in pq.read_table(tmp_path / "out.parquet")["frame_id"].to_pylist()]
    of = {"p1": sum(number < 4 or number >= 8 for number in chosen), "p2": sum(number >= 4 for number in chosen)}
    assert max(of.values()) <= 3
    assert counts["num_unknown_patient"] == 0

"""Learning from some phantom videos what is outside the body, and removing it from the others."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.packs.pack import read_frame
from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from flows.cli.cli import main
from warehouse.lake import open_lake

PHANTOM = PhantomConfig(num_train_videos=6, num_eval_patients=6, seconds=8, fps=8, size=128, seed=3)
NUM_LABELLED = 4


def rows(lake: Path, statement: str) -> list[dict[str, object]]:
    with open_lake(lake, read_only=True) as opened:
        return opened.rows(statement)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bool]]:
    """A lake that kept the outside of six phantom videos, labels from four of them, and the truth about the frames of the other two."""
    folder = tmp_path_factory.mktemp("phantom")
    lake, labels = folder / "lake", folder / "labels"
    is_outside: dict[tuple[str, int], bool] = {}
    for patient in range(PHANTOM.num_train_videos):
        video = render_video(folder / "videos" / f"{patient}.mp4", config=PHANTOM, patient=patient)
        for row in pq.read_table(video.truth_path).to_pylist():
            is_outside[video.path.as_uri(), row["pts_us"]] = row["out_of_body"]
    keep_all = ("--all", "--text", "off", "--max-out-of-body", "1", "--max-hash-distance", "0", "--freeze-motion", "0", "--min-blur", "0")
    assert main(["ingest", str(folder / "videos"), "--lake", str(lake), "--runner", "serial", *keep_all]) == 0
    assert main(["embed", "--lake", str(lake), "--runner", "serial"]) == 0
    others: dict[str, bool] = {}
    frames = rows(lake, "SELECT c.*, v.uri FROM candidates c JOIN current_videos v USING (video_id) ORDER BY frame_id")
    for number, frame in enumerate(frames):
        uri, frame_id = str(frame["uri"]), str(frame["frame_id"])
        outside = is_outside[uri, int(str(frame["pts_us"]))]
        patient = int(Path(uri).stem)
        if patient >= NUM_LABELLED:
            others[frame_id] = outside
            continue
        if not outside and number % 4:  # enough to learn from, and quicker
            continue
        path = labels / ("outside" if outside else "inside") / str(patient) / f"{frame_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read_frame(lake / str(frame["pack_path"]), int(str(frame["byte_offset"])), int(str(frame["byte_size"]))))
    return lake, labels, others


def test_what_is_outside_goes_for_good_and_once(truth: tuple[Path, Path, dict[str, bool]], capsys: pytest.CaptureFixture[str]) -> None:
    lake, labels, others = truth
    command = ["remove-out-of-body", "--lake", str(lake), "--labels", str(labels), "--runner", "serial"]
    before = rows(lake, "SELECT frame_id FROM candidates ORDER BY frame_id")
    assert main([*command, "--dry-run"]) == 0
    assert "nothing is removed by a dry run" in capsys.readouterr().err
    assert main([*command, "--max-removed-share", "0.01"]) == 1
    assert "must not empty it" in capsys.readouterr().err
    assert rows(lake, "FROM removals") == []

    assert main(command) == 0
    left = {str(row["frame_id"]) for row in rows(lake, "SELECT frame_id FROM candidates")}
    outside = {frame_id for frame_id, is_it in others.items() if is_it}
    inside = set(others) - outside
    assert len(outside) >= 5
    assert not outside & left
    assert len(inside - left) <= 0.1 * len(inside)
    assert rows(lake, "SELECT DISTINCT reason, source = run_id AS own FROM removals") == [{"reason": "out_of_body", "own": True}]
    (funnel,) = rows(lake, "SELECT num_frames FROM funnel WHERE reason = 'out_of_body'")
    assert funnel == {"num_frames": len(before) - len(left)}
    metrics = "(metrics ->> 'auc')::DOUBLE AS auc, (metrics ->> 'sensitivity')::DOUBLE AS sensitivity"
    (recorded,) = rows(lake, f"SELECT {metrics} FROM runs WHERE stage = 'out_of_body' AND status = 'complete'")
    assert float(str(recorded["auc"])) > 0.9
    assert float(str(recorded["sensitivity"])) >= 0.99

    assert main(command) == 0
    assert "have judged these frames already" in capsys.readouterr().err
    assert rows(lake, "SELECT count(*) AS n FROM candidates") == [{"n": len(left)}]
    assert not list((lake / "staging").rglob("*.parquet"))

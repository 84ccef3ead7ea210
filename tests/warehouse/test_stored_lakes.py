"""Lakes that earlier releases left behind, made by tests/helpers/stored_lake.py of their time: each still answers, and goes on."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from curation.phantom.phantom import render_video
from flows.cli.cli import main
from flows.stages import run_in_words
from tests.helpers.stored_lake import PHANTOM
from warehouse.lake import LakeError, open_lake
from warehouse.schema import TABLES
from warehouse.snapshots import list_snapshots

NOTEBOOK = Path(__file__).parents[2] / "examples" / "lake.ipynb"
STORED = sorted(Path(__file__).with_name("lakes").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=STORED, ids=lambda path: path.name.removesuffix(".tar.xz"))
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(request.param) as tar:
        tar.extractall(folder, filter="data")
    return folder / "lake"


def test_every_table_and_view_of_an_earlier_lake_answers(stored: Path) -> None:
    with open_lake(stored, read_only=True) as lake:
        names = [str(row["name"]) for row in lake.rows("SELECT DISTINCT table_name AS name FROM data_dictionary")]
        counts = {name: lake.rows(f'SELECT count(*) AS n FROM "{name}"')[0]["n"] for name in names}
        assert counts.keys() >= TABLES.keys()
    filled = {"videos": 2, "embeddings": 2, "datasets": 1, "shard_frames": 8, "checkpoints": 2}
    assert {name: counts[name] for name in filled} == filled


def test_an_earlier_lake_has_the_newest_views_and_macros(stored: Path) -> None:
    with open_lake(stored, read_only=True) as lake:
        (model,) = lake.rows("FROM models")
        (night,) = lake.rows("SELECT num_failed, num_videos, num_frames_kept, num_rejects FROM nights")
        costs = {row["stage"]: row["seconds_per_video_hour"] for row in lake.rows("FROM cost_per_video_hour")}
        assert lake.rows("FROM dataset_diff('set', 'set')") == []
        only = lake.rows("SELECT only_in, count(*) AS n, count(uri) AS num_known FROM dataset_diff('set', 'other') GROUP BY ALL")
    assert (model["datasets"], model["num_images"], model["num_steps"], model["num_scores"]) == (["set"], 8, 6, 0)
    assert night["num_videos"] == 2
    assert night["num_frames_kept"] > 8
    assert (night["num_failed"], night["num_rejects"]) == (0, 0)
    assert {"ingest", "embed", "pretrain"} <= costs.keys()
    assert min(costs.values()) > 0
    assert only == [{"only_in": "set", "n": 8, "num_known": 8}]


def test_the_end_of_a_run_names_what_was_made_and_promises_nothing(stored: Path) -> None:
    report = stored / "report.html"
    with open_lake(stored, read_only=True) as lake:
        run_id = lake.rows("SELECT run_id FROM models")[0]["run_id"]
        frames, dataset, model, files, *commands = run_in_words(lake, run_id, report)
        assert run_in_words(lake, "pretrain-0", report) == []
    assert (
        frames == "frames   20 of 40 kept; dropped: blurred 15, out_of_body 4, near_duplicate 1; something is blacked out in 0 of the kept"
    )
    assert dataset.startswith("dataset  set: 8 images in ")
    assert re.match(
        rf"model    {run_id} step \d of 6, .*; nothing was scored, so nobody knows what it is worth; 8 images, seen 6 times", model
    )
    assert f"report {report}; weights {stored}/runs/{run_id}/checkpoints/" in files
    assert [line.split("endoforge ")[1].split()[0] for line in commands] == ["atlas", "privacy-audit", "export-model"]


def test_the_notebook_runs(stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ENDOFORGE_LAKE", str(stored))
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    shown = capsys.readouterr().out
    assert all(told in shown for told in ("near_duplicate", "seconds", "[set]", "######"))


def test_a_state_before_the_migration_is_read_as_it_was(stored: Path) -> None:
    with open_lake(stored) as lake:
        *_, before, _ = list_snapshots(lake)
    for read_only in (True, False):
        with open_lake(stored, read_only=read_only, at=str(before.version)) as then:
            assert then.rows("SELECT max(version) AS version FROM lake_schema") == [{"version": 7}]
            assert then.rows("SELECT count(*) AS n FROM candidates") != [{"n": 0}]
            assert "kind" not in {row["column_name"] for row in then.rows("DESCRIBE datasets")}
    with pytest.raises(LakeError, match="had no tables yet at '0'"):
        open_lake(stored, at="0")


def test_the_files_of_an_earlier_lake_are_those_it_recorded(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "set", "--lake", str(stored), "--runner", "serial"]) == 0
    assert main(["lineage", "--lake", str(stored), "set"]) == 0
    tree = capsys.readouterr().out
    kinds = ("dataset", "selection", "cluster_tree", "dedup", "embedding_part", "frame_pack", "video")
    assert [kind for kind in kinds if f"{kind} " not in tree] == []


def test_an_earlier_lake_takes_another_video(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    render_video(tmp_path / "2" / "film.mp4", config=PHANTOM, patient=2)
    at = ["--lake", str(stored), "--runner", "serial"]
    assert main(["ingest", str(tmp_path), "--fps", "4", "--text", "off", *at]) == 0
    assert main(["embed", "--image-size", "64", *at]) == 0
    with open_lake(stored, read_only=True) as lake:
        found = lake.rows("SELECT count(DISTINCT c.video_id) AS videos FROM candidates c JOIN embeddings e USING (pack_id)")
    assert found == [{"videos": 3}]

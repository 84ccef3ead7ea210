"""From patients to datasets, models and scores."""

import datetime
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from flows.cli.cli import main
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.patient_lineage import patient_lineage
from warehouse.schema import TABLES

ANN, BOB = "p-ann", "p-bob"
V1, V2, V3 = "1" * 64, "2" * 64, "3" * 64
NOW = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)


def add(lake: Lake, table: str, *rows: Mapping[str, object]) -> None:
    with lake.transaction():
        lake.append(table, pa.Table.from_pylist([{**dict.fromkeys(TABLES[table].names), **row} for row in rows], schema=TABLES[table]))


def run(stage: str, name: str) -> dict[str, object]:
    return {"run_id": name, "stage": stage, "status": "complete", "ended_at": NOW}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset a holds Ann and Bob, b Bob alone, and c, which is withdrawn, held Ann; model 2 starts from model 1."""
    root = tmp_path_factory.mktemp("made") / "lake"
    with open_lake(root, create=True) as lake:
        add(lake, "runs", run("ingest", "i"), run("pretrain", "m1"), run("pretrain", "m2"), run("pretrain", "m3"))
        add(
            lake, "videos", *({"video_id": video, "ingest_key": "k", "uri": f"file:///{video[0]}", "run_id": "i"} for video in (V1, V2, V3))
        )
        said = ((V1, ANN), (V2, ANN), (V3, BOB))
        places = [{"video_id": video, "uri": f"file:///{video[0]}", "patient_id": patient, "run_id": "i"} for video, patient in said]
        add(lake, "manifest_videos", *places)
        frames = [f"{video[:16]}-{n}" for video in (V1, V2, V3) for n in range(2)]
        add(lake, "frames", *({"frame_id": frame, "video_id": frame[0] * 64, "ingest_key": "k"} for frame in frames))
        add(lake, "datasets", *({"dataset_id": f"d-{name}", "name": name, "selection_id": f"s-{name}"} for name in "abc"))
        add(lake, "shards", *({"dataset_id": f"d-{name}", "shard": "x.tar"} for name in "ab"))
        held = {"a": frames[1:6], "b": frames[4:6]}
        add(lake, "shard_frames", *({"dataset_id": f"d-{name}", "frame_id": frame} for name, some in held.items() for frame in some))
        add(lake, "selections", {"selection_id": "s-c", "frame_id": frames[0]})
        add(lake, "artifacts", *({"artifact_id": f"c{n}", "kind": "checkpoint"} for n in (1, 2, 3)))
        made_of = (("m1", "d-a", "c1"), ("m2", "c1", "c2"), ("m3", "d-b", "c3"))
        for name, source, made in made_of:
            add(lake, "edges", {"run_id": name, "artifact_id": source, "direction": "input"})
            add(lake, "edges", {"run_id": name, "artifact_id": made, "direction": "output"})
            add(lake, "checkpoints", {"checkpoint_id": made, "run_id": name, "step": 10, "is_best": True})
        score = {"task": "landmarks", "head": "knn", "metric": "macro_f1"}
        add(lake, "scores", {"score_id": "s2", "model_id": "c2", "value": 0.5, **score})
        add(lake, "scores", {"score_id": "s3", "model_id": "c3", "value": 0.75, **score})
    return root


def test_views_lead_from_a_patient_to_datasets_models_and_scores(root: Path) -> None:
    with open_lake(root, read_only=True) as lake:
        held = lake.rows("SELECT patient_id, dataset, num_videos, num_frames, is_withdrawn FROM patient_datasets")
        learned = lake.rows("SELECT patient_id, dataset, checkpoint_id, num_scores FROM patient_models ORDER BY ALL")
        scores = lake.rows("SELECT patient_id, score_id FROM patient_scores ORDER BY ALL")
    assert [tuple(row.values()) for row in held] == [
        (ANN, "a", 2, 3, False),
        (ANN, "c", 1, 1, True),
        (BOB, "a", 1, 2, False),
        (BOB, "b", 1, 2, False),
    ]
    assert [tuple(row.values()) for row in learned] == [
        (ANN, "a", "c1", 0),
        (ANN, "a", "c2", 1),
        (BOB, "a", "c1", 0),
        (BOB, "a", "c2", 1),
        (BOB, "b", "c3", 1),
    ]
    assert [tuple(row.values()) for row in scores] == [(ANN, "s2"), (BOB, "s2"), (BOB, "s3")]


def test_the_command_prints_the_same_as_a_tree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "--lake", str(root), "--patient", ANN, "--most", "1"]) == 0
    assert [line.strip("│├└─ ") for line in capsys.readouterr().out.splitlines()] == [
        "patient p-ann (2 videos)  [used by]",
        "video 1111111111111111 (file:///1)",
        "... and 1 more videos",
        "dataset a (3 frames or clips of 2 of the videos)",
        "checkpoint c1 (run m1, step 10, the run's best)",
        "... and 1 more checkpoints",
        "... and 1 more datasets",
    ]
    with open_lake(root, read_only=True) as lake:
        tree = patient_lineage(lake, [ANN])
    withdrawn = tree.children[-1]
    assert withdrawn.label == "dataset c (1 frames or clips of 1 of the videos, withdrawn)"
    assert tree.children[2].children[1].children[0].label == "score landmarks, knn, macro_f1: 0.500"


def test_nobody_and_nothing_named_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "--lake", str(root), "--patient", "nobody"]) == 1
    assert "no video of this lake is of patient 'nobody'" in capsys.readouterr().err
    with open_lake(root, read_only=True) as lake, pytest.raises(LakeError, match="FROM patient_videos"):
        patient_lineage(lake, ["nobody"])
    for words in ((), ("a", "--patient", ANN)):
        with pytest.raises(SystemExit):
            main(["lineage", "--lake", str(root), *words])
        assert "named; give an id, or --patient" in " ".join(capsys.readouterr().err.split())

"""Summaries and gauges of commands: written whatever comes of the command, and read by Prometheus' own parsers."""

import json
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from curation.phantom.phantom import render_video
from flows.cli.cli import main
from flows.open_metrics import Gauge, open_metrics
from tests.flows.conftest import TINY


def test_gauges_are_text_of_both_forms() -> None:
    text = open_metrics(
        [
            Gauge("frames", "Frames of a lake", [({"state": "dropped", "reason": 'odd "\\\n'}, 3), ({"state": "kept", "reason": ""}, 2)]),
            Gauge("command_duration_seconds", "Seconds", [({}, 1.5)]),
            Gauge("nothing", "Left out", []),
        ]
    )
    assert text == (
        "# HELP endoforge_frames Frames of a lake\n"
        "# TYPE endoforge_frames gauge\n"
        'endoforge_frames{state="dropped",reason="odd \\"\\\\\\n"} 3\n'
        'endoforge_frames{state="kept",reason=""} 2\n'
        "# HELP endoforge_command_duration_seconds Seconds\n"
        "# TYPE endoforge_command_duration_seconds gauge\n"
        "endoforge_command_duration_seconds 1.5\n"
        "# EOF\n"
    )
    for read in (read_open_metrics, read_prometheus):
        families = {family.name: family.samples for family in read(text)}
        assert [(sample.labels, sample.value) for sample in families["endoforge_frames"]] == [
            ({"state": "dropped", "reason": 'odd "\\\n'}, 3),
            ({"state": "kept", "reason": ""}, 2),
        ]
    with pytest.raises(ValueError, match="no name of a metric"):
        Gauge("Frames", "", [])


def test_a_command_says_in_a_file_what_it_did_and_what_not(tmp_path: Path) -> None:
    videos, lake, summary, metrics = (tmp_path / name for name in ("videos", "lake", "out/summary.json", "out/endoforge.prom"))
    videos.mkdir()
    render_video(videos / "a.mp4", config=TINY, patient=0)
    (videos / "empty.mp4").touch()
    reports = ["--summary", str(summary), "--metrics-file", str(metrics)]
    ingest = ["ingest", str(videos), "--lake", str(lake), "--text", "off", "--fps", "2", "--runner", "serial", *reports]
    assert main(ingest) == 0
    told = json.loads(summary.read_text())
    assert (told["summary_version"], told["command"], told["exit_code"], told["error"]) == (1, "ingest", 0, None)
    assert told["files"] == {
        **{"found": 2, "known": 0, "known_rejected": 0, "moved": 0, "ingested": 1, "rejected": 1, "left": 0},
        "left_by_reason": {},
    }
    assert told["rejected_by_reason"] == {"empty": 1}
    frames = told["frames"]
    assert frames["kept"] + sum(frames["dropped_by_reason"].values()) == 10  # 5 seconds at 2 a second
    assert told["stages"]["ingest"]["num_complete"] == len(told["run_ids"]) == 1
    assert told["stages"]["ingest"]["metrics"]["num_frames_kept"] == frames["kept"]
    assert 0 < told["stages"]["ingest"]["seconds"] <= told["duration_s"]
    assert (told["datasets"], told["not_done"], told["checks"]) == ([], [], [])
    assert "a.mp4" not in summary.read_text() + metrics.read_text()
    for read in (read_open_metrics, read_prometheus):
        samples = [sample for family in read(metrics.read_text()) for sample in family.samples]
        found = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
        assert found["endoforge_command_exit_code", "ingest"] == 0
        assert found["endoforge_ingest_files", "rejected"] == 1
        assert found["endoforge_frames", "kept", ""] == frames["kept"]
        assert found["endoforge_runs", "ingest", "complete"] == 1
        assert found["endoforge_disk_free_bytes",] > 0

    assert main(["embed", "--lake", str(lake), "--runner", "serial", "--encoder", "no-such-encoder", *reports]) == 1
    assert json.loads(summary.read_text())["command"] == "ingest"  # refused before it began: the file of the last run stays
    assert main(ingest) == 0
    told = json.loads(summary.read_text())
    assert (told["files"]["known"], told["stages"], told["frames"]) == (2, {}, {"kept": 0, "dropped_by_reason": {}})

    assert main(["alerts", "--lake", str(lake), "--min-decided", "1", "--max-reject-share", "0.4", "--min-free-gib", "0", *reports]) == 1
    told = json.loads(summary.read_text())
    (rejects,) = [check for check in told["checks"] if check["name"] == "rejects"]
    assert (rejects["state"], rejects["value"], rejects["limit"]) == ("alert", 0.5, 0.4)
    assert told["exit_code"] == 1
    samples = [sample for family in read_open_metrics(metrics.read_text()) for sample in family.samples]  # type: ignore[no-untyped-call]
    raised = {sample.labels["check"]: sample.value for sample in samples if sample.name == "endoforge_alert"}
    assert raised["rejects"] == 1
    assert raised["new_videos"] == 0


def test_a_file_that_cannot_be_written_is_named_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").touch()
    lake = tmp_path / "lake"
    assert main(["ingest", str(tmp_path / "a.mp4"), "--lake", str(lake), "--summary", str(tmp_path)]) == 1
    assert "that is a folder; give the name of a file" in capsys.readouterr().err
    assert not lake.exists()


def test_a_failed_command_leaves_a_summary_too(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    lake, summary = tmp_path / "lake", tmp_path / "summary.json"
    assert (
        main(["ingest", str(tmp_path / "a.mp4"), "--lake", str(lake), "--text", "off", "--runner", "serial", "--summary", str(summary)])
        == 1
    )
    told = json.loads(summary.read_text())
    assert (told["exit_code"], told["rejected_by_reason"]) == (1, {"empty": 1})
    assert told["error"] == "NothingIngestedError"

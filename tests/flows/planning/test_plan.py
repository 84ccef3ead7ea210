"""`plan` before there is a lake, and `curate --plan` on a tiny one: they say what is to do and write nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from flows.cli.cli import main

SMALL = PhantomConfig(num_train_videos=1, num_eval_patients=6, seconds=5, fps=8, size=128, seed=3)


def state(lake: Path) -> dict[str, tuple[int, int]]:
    """Of every file and folder below the lake its size and time."""
    found = {}
    for parent, folders, files in os.walk(lake):
        for name in (*folders, *files):
            path = Path(parent, name)
            found[str(path)] = (path.stat().st_size if path.is_file() else 0, path.stat().st_mtime_ns)
    return found


def plan_of_archive(video: Path, lake: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `plan` says of a video, once it has made no lake."""
    command = ["plan", str(video), "--size", "12", "--recipe", "smoke", "--ingest.fps", "4", "--ingest.text", "off"]
    assert main([*command, "--lake", str(lake), "--cores", "64", "--gpus", "8xH100", "--within-s", "2", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    here, there = told["machines"]
    assert [stage["stage"] for stage in here["stages"]] == [
        "ingest",
        "embed",
        "similarity",
        "dedup",
        "cluster",
        "select",
        "shard",
        "pretrain",
    ]
    assert there["machine"] == "64 cores, 8 x H100"
    assert told["archive"]["num_videos"] == told["archive"]["num_timed"] == 1
    assert told["archive"]["seconds"] == {"value": 5.0, "factor": 1.0, "source": "1 headers"}
    assert all(stage["seconds"]["source"] and stage["seconds"]["factor"] > 1 for machine in (here, there) for stage in machine["stages"])
    assert not lake.exists()
    assert sorted(path.name for path in video.parent.iterdir()) == ["a.mp4", "a.truth.parquet"]  # as they were rendered
    return told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus", "8xB300"], "the GPU is 'B300', whose figures are not known here; give one of H100, H200, A100, A100-40, L40S"),
        (["--gpus", "eight"], "the GPU is 'eight', whose figures are not known here"),
        (["--gpus", "8x"], "gpus is '8x', expected a number and a card; give for instance 8xH100"),
        (["--gpus", "3xH100"], "gpus is '3xH100', and these cannot share batches of 8 images evenly; give a divisor of it"),
        (["--cores", "0"], "cores is 0; give 1 or more"),
        (["--within-s", "0"], "within_s is 0, expected seconds above 0; give about 30"),
    ],
)
def test_a_plan_of_no_such_machine_is_refused(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").touch()
    assert main(["plan", str(tmp_path), "--size", "12", "--recipe", "smoke", *options]) == 1
    assert message in capsys.readouterr().err


def planned(lake: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    """The plan's line of each stage, once it has left the lake as it was."""
    before = state(lake)
    capsys.readouterr()
    assert main(["curate", "--lake", str(lake), "--name", "set", "--size", "12", "--runner", "serial", "--plan", *options]) == 0
    assert state(lake) == before
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()[1:]
    return {line.split("  ")[0]: line for line in lines}


def test_a_plan_writes_nothing_and_what_is_committed_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render_video(tmp_path / "a.mp4", config=SMALL, patient=0)
    lake = tmp_path / "lake"
    forecast = plan_of_archive(tmp_path / "a.mp4", lake, capsys)
    assert main(["ingest", str(tmp_path / "a.mp4"), "--lake", str(lake), "--fps", "4", "--text", "off", "--runner", "serial"]) == 0

    kept = int(capsys.readouterr().err.partition(" frames kept")[0].split()[-1])
    assert abs(forecast["archive"]["kept"]["value"] - kept) <= 2

    stages = ["embed", "similarity", "dedup", "cluster", "select 12", "shard 12"]
    before = planned(lake, capsys)
    assert list(before) == [*stages, "together"]
    assert not any("done" in line for line in before.values())

    assert main(["embed", "--lake", str(lake), "--runner", "serial"]) == 0
    assert [stage for stage, line in planned(lake, capsys).items() if "done" in line] == ["embed"]

    assert main(["curate", "--lake", str(lake), "--name", "set", "--size", "12", "--runner", "serial"]) == 0
    after = planned(lake, capsys)
    assert list(after) == stages
    assert all(line.split()[-1] == "done" for line in after.values())

    other = planned(lake, capsys, "--dedup-threshold", "0.5")
    assert [stage for stage, line in other.items() if "done" in line] == ["embed", "similarity"]
    assert "Traceback" not in capsys.readouterr().err

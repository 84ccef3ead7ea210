"""`curate --plan` on a tiny lake: it says what is to do, writes nothing, and finds everything done after."""

import os
from pathlib import Path

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
    assert main(["ingest", str(tmp_path / "a.mp4"), "--lake", str(lake), "--fps", "4", "--text", "off", "--runner", "serial"]) == 0

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

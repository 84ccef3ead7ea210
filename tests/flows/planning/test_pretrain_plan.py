"""`pretrain --plan` without a lake, and with one whose finished run corrects it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.cli import main
from tests.helpers.trained_lake import make_lake


def planned(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert main(["pretrain", "--plan", *options]) == 0
    return capsys.readouterr().out


def test_a_plan_needs_no_lake_and_says_what_fits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = planned(capsys, "--recipe", "vits14", "--train-workers", "8")
    assert told.startswith("vits14: 125,000 steps of 2,048 images on 8 x H100, DDP, bf16\n")
    assert "21.6 M backbone, 22.4 M heads, 44.0 M together" in told
    assert told.endswith("it fits: 42.0 GB of 80 GB\n")
    told = planned(capsys, "--recipe", "vits14")
    advice = "give --train.accumulate 4 (the same run); or --train-workers 4; or --model.activation-checkpointing with --train-workers 1"
    assert f"WARNING: it does not fit: 264.4 GB of 80 GB; {advice}; or --train.batch-size 594 or less" in told
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_clips_counts_their_tokens(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = planned(capsys, "--recipe", "endofm", "--train-workers", "4")
    assert told.startswith("endofm: 82,380 steps of 12 clips on 4 x H100, DDP, bf16\n")
    assert "121.3 M backbone, 23.1 M heads, 144.4 M together" in told
    assert "tokens      6,864 student and 4,704 teacher patch tokens a clip\n" in told
    assert "work        6,288.3 GFLOP a clip" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plan-gpu", "H1000"], "the GPU is 'H1000', whose figures are not known here; give one of H100, H200, A100"),
        (["--train-workers", "3"], "3 GPUs cannot share batches of 128 images evenly"),
        (["--lake", "lake", "--resume", "pretrain-1"], "got --plan with --resume or --replay-nan"),
    ],
)
def test_what_cannot_be_planned_is_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--plan", "--recipe", "small", *options]) == 1
    assert message in capsys.readouterr().err


def test_a_finished_run_of_the_lake_corrects_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_lake(tmp_path / "lake")
    told = ["--lake", str(root), "--dataset", "tiny", "--recipe", "smoke", "--train.num-loader-workers", "0"]
    assert main(["pretrain", *told, "--runner", "serial"]) == 0
    run_id = capsys.readouterr().out.strip()
    noted = root / "runs" / run_id / "machine.json"
    assert json.loads(noted.read_text()) == {"device": "cpu", "num_workers": 1, "first_step": 0}
    assert "recorded" not in planned(capsys, *told)  # a CPU says nothing of an H100
    noted.write_text(json.dumps({"device": "NVIDIA H100 80GB HBM3", "num_workers": 1, "first_step": 0}))
    assert f"recorded by {run_id}: " in planned(capsys, *told)

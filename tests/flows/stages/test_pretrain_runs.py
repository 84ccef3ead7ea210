"""Pretraining runs of a lake: what names them, and how they go on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.cli.cli import main
from flows.stages.pretrain import plan_pretrain
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.recipes import smoke
from tests.helpers.trained_lake import make_lake
from warehouse.artifacts import artifact_of
from warehouse.dataset_queries import dataset_named
from warehouse.lake import open_lake

SMALL = smoke()


def changed(section: str, **values: Any) -> str:
    """The stage key of the recipe `smoke` with other values in a section."""
    config = dataclasses.replace(SMALL, **{section: dataclasses.replace(getattr(SMALL, section), **values)})
    return plan_pretrain(config, ()).stage_key


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("train", {"num_loader_workers": 7}),
        ("train", {"sharding": "fsdp"}),
        ("train", {"compile": "off"}),
        ("train", {"log_every": 50}),
        ("train", {"max_nonfinite_steps": 9}),
        ("model", {"activation_checkpointing": True}),
        ("checkpoint", {"every": 2, "keep_best": 1, "keep_every": 4, "validate_start": False}),
    ],
)
def test_settings_of_the_machine_name_the_same_run(section: str, values: dict[str, Any]) -> None:
    assert changed(section, **values) == changed("train")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("train", {"seed": 1}),
        ("train", {"num_steps": 7}),
        ("train", {"batch_size": 4}),
        ("train", {"precision": "bf16"}),
        ("train", {"residual": "bf16"}),
        ("model", {"drop_path_rate": 0.1}),
        ("optim", {"base_lr": 1e-3}),
        ("loss", {"koleo_weight": 0.2}),
        ("augment", {"num_local": 2}),
        ("mask", {"probability": 0.4}),
    ],
)
def test_settings_that_are_learned_from_name_another_run(section: str, values: dict[str, Any]) -> None:
    assert changed(section, **values) != changed("train")


class _Stop(Exception):
    pass


def _stop_after_4(done: int, total: int, values: dict[str, float]) -> None:
    if done == 4:
        raise _Stop


def test_another_machine_goes_on_with_the_run_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_lake(tmp_path / "lake")
    with open_lake(root, read_only=True) as lake:
        dataset = dataset_named(lake, "tiny")
    run_id = plan_pretrain(SMALL, [artifact_of(dataset)]).run_id
    run_dir = root / "runs" / run_id
    with pytest.raises(_Stop):
        pretrain(
            SMALL,
            dataset_dir=root / dataset.path,
            run_dir=run_dir,
            run_id=run_id,
            validate=None,
            backend="local",
            progress=_stop_after_4,
        )
    started = ["pretrain", "--lake", str(root), "--dataset", "tiny", "--recipe", "smoke", "--runner", "serial"]
    machine = ["--train.num-loader-workers", "0", "--train.log-every", "2", "--checkpoint.keep-best", "1", "--checkpoint.every", "6"]
    assert main([*started, *machine]) == 0
    assert capsys.readouterr().out.strip() == run_id
    steps = [step for step, name, _ in read_metrics(run_dir / "metrics.jsonl") if name == "loss/total"]
    assert steps == [1, 2, 3, 4, 6]  # from the checkpoint of step 3 on, a row every two steps
    with open_lake(root, read_only=True) as lake:
        (run,) = lake.rows("SELECT run_id, config, metrics FROM runs WHERE stage = 'pretrain'")
    assert run["run_id"] == run_id
    assert json.loads(run["metrics"])["num_workers"] == 1
    assert '"log_every":2' in str(run["config"])  # what it was trained with at last is recorded too
    assert main(started) == 0  # finished: nothing is trained for other settings of the machine
    assert capsys.readouterr().out.strip() == run_id


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A lake with a finished run of the recipe `smoke`, and its id."""
    root = make_lake(tmp_path_factory.mktemp("finished") / "lake")
    assert main(["pretrain", "--lake", str(root), "--dataset", "tiny", "--recipe", "smoke", "--runner", "serial", *QUICK]) == 0
    with open_lake(root, read_only=True) as lake:
        return root, str(lake.rows("SELECT run_id FROM runs WHERE stage = 'pretrain'")[0]["run_id"])


QUICK = ["--train.num-loader-workers", "0"]


def test_a_longer_run_with_a_lower_rate_comes_from_the_old_one(finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, old = finished
    command = ["pretrain", "--lake", str(root), "--resume", old, "--runner", "serial"]
    assert main([*command, "--set", "train.num_steps=8", "optim.base_lr=0.001"]) == 0
    new = capsys.readouterr().out.strip()
    assert new != old
    run_dir = root / "runs" / new
    assert [step for step, name, _ in read_metrics(run_dir / "metrics.jsonl") if name == "loss/total"] == [7, 8]
    told = json.loads((run_dir / "config.json").read_text())["config"]
    assert (told["train"]["num_steps"], told["optim"]["base_lr"], told["train"]["batch_size"]) == (8, 0.001, 8)
    assert main(["lineage", "--lake", str(root), new]) == 0
    tree = capsys.readouterr().out
    assert old in tree  # through the checkpoint of step 6
    assert "dataset " in tree
    assert main([*command, "--set", "train.num_steps=8", "optim.base_lr=0.001"]) == 0  # typed again, it is finished
    assert capsys.readouterr().out.strip() == new


def test_what_cannot_be_resumed_is_said(finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, old = finished
    command = ["pretrain", "--lake", str(root), "--runner", "serial", "--resume"]
    for arguments, sentence in (
        ([old], f"{old} is at step 6 and num_steps is 6; give --set train.num_steps=N with N above 6"),
        (["pretrain-0"], "there is no pretraining run 'pretrain-0'"),
        ([old, "--set", "model.depth=3"], "--set model.depth would change the shape of weights"),
        ([old, "--set", "train.num_step=9"], "the run cannot be changed so (train.num_step"),
        ([old, "--set", "num_steps"], "--set 'num_steps' is not of the form section.field=value"),
        ([old, "--dataset", "tiny"], "leave --dataset and --recipe out"),
    ):
        assert main([*command, *arguments]) == 1
        assert sentence in capsys.readouterr().err


def test_a_run_that_diverged_is_replayed_from_its_id_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_lake(tmp_path / "lake")
    command = ["pretrain", "--lake", str(root), "--dataset", "tiny", "--recipe", "smoke", "--runner", "serial", *QUICK]
    assert main([*command, "--optim.base-lr", "1e20", "--optim.warmup-steps", "0"]) == 1
    run_id = capsys.readouterr().err.partition("--replay-nan ")[2].partition("`")[0]
    before = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*")}
    assert main(["pretrain", "--lake", str(root), "--replay-nan", run_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    step = int(next((root / "runs" / run_id / "nan").iterdir()).name.removeprefix("step_")) + 1
    assert lines[0] == f"{run_id}, step {step} again in fp32: not finite"
    assert lines[1] == "state before it: finite"
    assert lines[2].startswith("first module whose output is not finite: ")
    assert sum(line.startswith("  v") for line in lines) == 8  # each image of the batch by its frame's id
    assert before == {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("*")}
    assert main(["pretrain", "--lake", str(root), "--replay-nan", "pretrain-0"]) == 1
    assert "there is no pretraining run 'pretrain-0'" in capsys.readouterr().err
    assert main([*command, "--replay-nan", run_id]) == 1
    assert "got --replay-nan with settings or --resume" in capsys.readouterr().err


def test_two_labelled_folders_choose_together_and_each_score_is_in_the_lake(tmp_path: Path) -> None:
    root = make_lake(tmp_path / "lake")
    for task, colours in (("tissue", ("red", "blue")), ("light", ("white", "black"))):
        for split in ("train", "val", "test"):
            for colour in colours:
                for number in range(2):
                    path = tmp_path / task / split / colour / f"{split}{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (40, 40), colour).save(path)
    folders = [str(tmp_path / "tissue"), str(tmp_path / "light")]
    started = ["pretrain", "--lake", str(root), "--dataset", "tiny", "--recipe", "smoke", "--runner", "serial", *QUICK]
    assert main([*started, "--validation", *folders, "--validation-weights", "3", "1"]) == 0
    with open_lake(root, read_only=True) as lake:
        names = {row["name"] for row in lake.rows("SELECT DISTINCT name FROM train_metrics WHERE name LIKE 'validation/%'")}
        metrics = {row["validation_metric"] for row in lake.rows("SELECT validation_metric FROM checkpoints")}
    assert metrics == {"mean/val/light+tissue"}
    assert names >= {
        "validation/mean/val/light+tissue", "validation/tissue/val/knn_balanced_accuracy", "validation/light/val/knn_balanced_accuracy",
        "validation/views/matching", "validation/views/effective_rank", "validation/score",
    }  # fmt: skip


def test_a_test_split_is_refused_before_anything_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        (tmp_path / "labelled" / split).mkdir(parents=True)
    started = ["pretrain", "--lake", str(make_lake(tmp_path / "lake")), "--dataset", "tiny", "--recipe", "smoke", "--runner", "serial"]
    assert main([*started, "--validation", str(tmp_path / "labelled" / "test")]) == 1
    assert "is the test split beside train: checkpoints are never chosen on it" in capsys.readouterr().err
    assert not (tmp_path / "lake" / "runs").exists()

"""Pretraining runs of a lake: what names them, and how they go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from flows.cli.cli import main
from flows.stages.pretrain import plan_pretrain
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.recipes import smoke
from tests.helpers.trained_lake import make_lake
from warehouse.artifacts import artifact_of
from warehouse.lake import open_lake
from warehouse.queries import dataset_named

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
        (run,) = lake.rows("SELECT run_id, config FROM runs WHERE stage = 'pretrain'")
    assert run["run_id"] == run_id
    assert '"log_every":2' in str(run["config"])  # what it was trained with at last is recorded too
    assert main(started) == 0  # finished: nothing is trained for other settings of the machine
    assert capsys.readouterr().out.strip() == run_id

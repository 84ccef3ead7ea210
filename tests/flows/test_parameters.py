"""What the flows of prefect.yaml take: JSON, as a deployment gives it."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from evaluation.config import EvaluateConfig
from flows.parameters import changed_recipe
from flows.pipeline import nightly_flow, run_flow, weekly_flow
from pretrain.init_source import InitSource
from pretrain.recipes import recipe

NIGHT: dict[str, Any] = {"videos": ["/archive"], "lake": "/lake", "size": 100}
WEEK: dict[str, Any] = {"lake": "/lake", "recipe": "smoke"}


def parsed(flow: Any, **parameters: Any) -> dict[str, Any]:
    """The parameters after their way through JSON."""
    found: dict[str, Any] = flow.validate_parameters(json.loads(json.dumps(parameters)))
    return found


def test_settings_of_every_stage_arrive_as_its_record() -> None:
    night = parsed(
        nightly_flow,
        **NIGHT,
        ingest={"settle_s": 60, "fps": "auto", "text_masks": ["1920x1080:0,0,550,1080"], "retry_failed": True, "cache_gb": 5},
        embed={"encoder": "vit_small_patch14_dinov2.lvd142m", "allow_download": True},
        nested=[50, 10],
        holdout={"holdout": ["/held"], "holdout_scope": "video"},
        sample={"max_per_patient": 3, "weights": ["site:Oslo=2"]},
        cluster={"num_clusters": [20, 5]},
    )
    assert (night["ingest"].settle_s, night["ingest"].fps, night["ingest"].retry_failed) == (60.0, "auto", True)
    assert night["embed"].allow_download
    assert night["nested"] == [50, 10]
    assert night["holdout"].holdout == ("/held",)
    assert (night["sample"].max_per_patient, night["sample"].weights) == (3, ("site:Oslo=2",))
    assert night["cluster"].num_clusters == (20, 5)
    week = parsed(weekly_flow, **WEEK, evaluate={"k": [1, 5], "image_size": "own"}, evaluations=[["landmarks", "/data"]])
    assert (week["evaluate"].k, week["evaluate"].image_size) == ((1, 5), "own")
    assert [tuple(pair) for pair in week["evaluations"]] == [("landmarks", "/data")]


@pytest.mark.parametrize(
    ("flow", "wrong"),
    [
        (nightly_flow, {**NIGHT, "ingest": {"settle": 60}}),  # misspelt
        (nightly_flow, {**NIGHT, "ingest": {"fps": -1}}),
        (nightly_flow, {**NIGHT, "sample": {"max_per_patients": 3}}),
        (nightly_flow, {**NIGHT, "sample": {"weights": ["Oslo"]}}),
        (weekly_flow, {**WEEK, "evaluate": {"folds": 3}}),
    ],
)
def test_settings_that_there_are_not_are_refused(flow: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError):
        parsed(flow, **wrong)


def test_the_form_says_what_each_setting_means() -> None:
    records = nightly_flow.parameters.definitions
    assert "seconds since its last change" in records["IngestConfig"]["properties"]["settle_s"]["description"]
    assert records["IngestConfig"]["additionalProperties"] is False
    assert "most frames of one patient" in records["SampleConfig"]["properties"]["max_per_patient"]["description"]


def test_a_recipe_is_changed_where_a_deployment_says_so() -> None:
    changed = changed_recipe("smoke", {"train": {"num_steps": 7}, "augment": {"global_scale": [0.2, 1.0]}})
    assert (changed.train.num_steps, changed.train.batch_size) == (7, recipe("smoke").train.batch_size)
    assert changed.augment.global_scale == (0.2, 1.0)
    assert changed_recipe("smoke", None) == recipe("smoke")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"train": {"steps": 7}}, "train.steps"),
        ({"train": {"num_steps": 0}}, "num_steps is 0"),
        ({"training": {}}, "training"),
        ({"train": 3}, "train"),
    ]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            changed_recipe("smoke", wrong)


def test_a_recipe_for_trained_weights_is_first_made_theirs_and_then_changed() -> None:
    weights = InitSource(told="w", weights=Path("w"), architecture="vit_base_patch14_dinov2")
    changed = changed_recipe("small", {"train": {"num_steps": 200_000}}, weights)
    assert (changed.model.architecture, changed.train.num_steps) == ("vit_base_patch14_dinov2", 200_000)
    assert changed.optim.base_lr == recipe("small").optim.base_lr / 4
    assert changed_recipe("small", {"optim": {"base_lr": 0.5}}, weights).optim.base_lr == 0.5


def test_flows_refuse_what_cannot_work_before_their_first_task(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    night: dict[str, Any] = {"videos": [str(tmp_path / "videos")], "lake": str(tmp_path / "lake"), "size": 10}
    week: dict[str, Any] = {"lake": str(tmp_path / "lake"), "recipe": "smoke"}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (nightly_flow, {**night, "videos": [str(tmp_path / "nowhere")]}, "is no file"),
        (nightly_flow, {**night, "size": 0}, "size 0"),
        (nightly_flow, {**night, "nested": [10]}, "nested"),
        (nightly_flow, {**night, "name": "a b"}, "cannot be part of a file name"),
        (nightly_flow, {**night, "workers": 0}, "workers is 0"),
        (nightly_flow, {**night, "holdout": [str(tmp_path / "nowhere")]}, "does not exist"),
        (nightly_flow, {**night, "lake": str(tmp_path / "videos" / "a.mp4")}, "is no folder"),
        (run_flow, {**night, "recipe": "smoke", "validation_task": "colons"}, "unknown task"),
        (run_flow, {**night, "recipe": "vitx"}, "no recipe"),
        (weekly_flow, {**week, "pretrain": {"train": {"steps": 1}}}, "train.steps"),
        (weekly_flow, {**week, "validation": str(tmp_path / "nowhere")}, "does not exist"),
        (weekly_flow, {**week, "evaluations": [("colons", str(tmp_path))]}, "unknown task"),
        (
            weekly_flow,
            {**week, "evaluate": EvaluateConfig(order="a,b")},
            "has of its own; give --validation-order instead",
        ),
        (weekly_flow, {**week, "evaluate": EvaluateConfig(heads=("linaer",))}, "Did you mean 'linear'"),
        (weekly_flow, {**week, "train_workers": 0}, "train_workers is 0"),
        (weekly_flow, week, "there is no lake"),
    ]
    for flow, wrong, message in cases:
        with pytest.raises((ValueError, OSError), match=message):
            flow.fn(**wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["videos"]

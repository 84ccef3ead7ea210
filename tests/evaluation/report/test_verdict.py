"""One sentence about a model beside its baselines."""

import math

from evaluation.report.verdict import beside_baselines, headlines
from warehouse.records import Score


def score(
    model: str,
    task: str,
    value: float,
    *,
    low: float = math.nan,
    high: float = math.nan,
    head: str = "knn",
    metric: str = "balanced_accuracy",
) -> Score:
    return Score(
        score_id=f"{model} {task} {head} {metric}",
        model_id="ours" if model == "run step 9" else model,
        model=model,
        task=task,
        data_id=f"data of {task}",
        split="test",
        head=head,
        metric=metric,
        value=value,
        ci_low=low,
        ci_high=high,
        num_items=10,
        num_groups=5,
        seed=0,
    )


OURS = [score("run step 9", task, value) for task, value in (("landmarks", 0.8), ("grades", 0.5), ("polyps", 0.3))]


def test_better_is_above_the_baselines_interval() -> None:
    random = [
        score("random weights", "landmarks", 0.2, low=0.1, high=0.3),
        score("random weights", "grades", 0.45, low=0.4, high=0.55),
        score("random weights", "polyps", 0.3, low=0.2, high=0.4),
    ]
    said = beside_baselines([*OURS, *random], ["ours"], ["random weights"])
    assert said == "better than random weights on 1 of 3 tasks (landmarks)"


def test_without_an_interval_the_value_is_compared() -> None:
    others = [score("lite0", task, value) for task, value in (("landmarks", 0.9), ("grades", 0.5), ("polyps", 0.4))]
    assert beside_baselines([*OURS, *others], ["ours"], ["lite0"]) == "no better than lite0 on 3 of 3"
    assert beside_baselines([OURS[0], score("lite0", "landmarks", 0.7)], ["ours"], ["lite0"]) == "better than lite0 on 1 of 1 task"


def test_only_the_same_head_and_metric_on_the_same_images_are_compared() -> None:
    others = [score("lite0", "landmarks", 0.1, head="linear"), score("lite0", "landmarks", 0.1, metric="accuracy")]
    assert beside_baselines([OURS[0], *others], ["ours"], ["lite0", "nobody"]) == ""
    assert beside_baselines([], ["ours"], ["lite0"]) == ""


def test_the_headline_is_the_foremost_metric_of_a_set() -> None:
    kappa = score("run step 9", "grades", 0.6, metric="quadratic_weighted_kappa")
    assert headlines([OURS[1], kappa, OURS[2]], ["ours"]) == [kappa, OURS[2]]

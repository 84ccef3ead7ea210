"""Reference rows: the mean of several draws of random weights, and how much better a model is than the best reference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.against_reference import Rival, constant_rivals, rivals_of, shown_difference, with_differences
from evaluation.metrics import mean_difference
from evaluation.random_draws import mean_of_draws
from evaluation.references import picture_blind
from evaluation.tasks import read_task
from warehouse.records import Score


def score(name: str, value: float, **changes: object) -> Score:
    told: dict[str, object] = {
        "score_id": name, "model_id": name, "model": name, "task": "polyps", "data_id": "d", "split": "test", "head": "fpn",
        "metric": "dice", "value": value, "ci_low": 0.1, "ci_high": 0.9, "num_items": 6, "num_groups": 6, "seed": 0,
        "details": {"leak": "clean"},
    }  # fmt: skip
    return Score(**{**told, **changes})  # type: ignore[arg-type]


def predictions(root: Path, name: str, values: list[float]) -> dict[str, str]:
    names = [f"{number}.png" for number in range(len(values))]
    table = pa.table({"path": names, "box": pa.nulls(len(values), pa.list_(pa.int32())), "group": names, "dice": values})
    pq.write_table(table, root / f"{name}.parquet")
    return {"predictions_file": f"{name}.parquet"}


def test_draws_have_their_mean_and_range_and_no_interval() -> None:
    draws = [
        [score(f"draw {number}", value, details={"leak": "clean", "learning_rate": f"0.{number}"})]
        for number, value in enumerate((0.5, 0.75, 0.25))
    ]
    (found,) = mean_of_draws(draws)
    assert (found.model_id, found.value) == ("draw 0", 0.5)
    assert math.isnan(found.ci_low)
    assert math.isnan(found.ci_high)
    assert found.details == {
        "leak": "clean",
        "draws": "3",
        "range": "0.250 to 0.750",
        "interval": "mean of 3 draws, 0.250 to 0.750",
    }
    assert found.score_id != "draw 0"


def test_what_the_first_draw_alone_has_stays_as_it_is() -> None:
    first = [score("a", 0.5), score("a", 0.6, head="finetune_fpn"), score("a", 0.2, details={"shots": "1 image", "draw": "mean"})]
    found = mean_of_draws([first, [score("b", 0.7)]])
    assert [row.value for row in found] == [0.6, 0.6, 0.2]
    assert found[1:] == tuple(first[1:])
    assert mean_of_draws([first]) == tuple(first)
    assert mean_of_draws([]) == ()


def test_a_score_stands_beside_the_best_reference_of_its_head(tmp_path: Path) -> None:
    ours, theirs = [0.9, 0.8, 0.7, 0.9, 0.6, 0.8], [0.5, 0.6, 0.3, 0.4, 0.6, 0.5]
    own = score("ours", 0.78, details=predictions(tmp_path, "ours", ours))
    encoder = score("encoder", 0.48, details=predictions(tmp_path, "encoder", theirs))
    blind = pq.read_table(tmp_path / "encoder.parquet")
    rivals = [
        *rivals_of([encoder, score("without predictions", 0.99)], tmp_path, label="encoder"),
        *rivals_of([replace(encoder, head="dpt", value=0.97)], tmp_path, label="another head"),
        *constant_rivals([score("no picture", 0.3)], blind),
    ]
    (found,) = with_differences([own], rivals, tmp_path, classes=("background", "polyp"))
    expected = mean_difference(np.array(ours), np.array(theirs), np.arange(6), num_bootstrap=1000, seed=0)
    assert found.details["difference"] == "+0.3000"
    assert float(found.details["difference_low"]) == pytest.approx(expected.low, abs=1e-4)
    assert float(found.details["difference_high"]) == pytest.approx(expected.high, abs=1e-4)
    assert found.score_id != own.score_id
    assert shown_difference(found) == f"+0.300 ({expected.low:+.3f} to {expected.high:+.3f}) over encoder"
    assert with_differences([score("none stored", 0.7)], rivals, tmp_path, classes=()) == (score("none stored", 0.7),)
    assert shown_difference(own) == ""


def test_below_five_groups_the_difference_has_no_interval(tmp_path: Path) -> None:
    own = score("ours", 0.8, details=predictions(tmp_path, "ours", [0.9, 0.7]))
    table = pq.read_table(tmp_path / "ours.parquet")
    rival = Rival(label="same", head=None, metric="dice", value=0.8, predictions=lambda: table)
    (found,) = with_differences([own], [rival], tmp_path, classes=())
    assert shown_difference(found) == "+0.000 (no interval) over same"


def test_images_that_cannot_be_told_apart_leave_the_score_as_it_is(tmp_path: Path) -> None:
    own = score("ours", 0.8, details=predictions(tmp_path, "ours", [0.9, 0.7]))
    table = pq.read_table(tmp_path / "ours.parquet")
    twice = pa.concat_tables([table, table])
    rival = Rival(label="twice", head=None, metric="dice", value=0.8, predictions=lambda: twice)
    assert with_differences([own], [rival], tmp_path, classes=()) == (own,)


def test_the_guess_has_a_row_for_each_test_image(colours: Path) -> None:
    guess = picture_blind(read_task(colours), colours)
    assert guess.details == {"reference": "always blue"}
    assert guess.predictions["prediction"].to_pylist() == ["blue"] * 12
    assert guess.predictions["path"].to_pylist()[0].startswith("p4_")

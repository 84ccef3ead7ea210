"""Two models of a lake that share only scores without pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.compare import CompareError
from flows.stages.compare_models import run_compare
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Score
from warehouse.store import write_parquet


def test_scores_of_boxes_are_told_to_have_no_pairs(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.png"], "box": pa.nulls(1, pa.list_(pa.int32())), "group": ["g"], "frame_f1": [0.5]})
    told = {"task": "kumc", "data_id": "d", "split": "test", "head": "fcos", "metric": "ap50"}
    numbers = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "num_items": 1, "num_groups": 1, "seed": 0}
    with open_lake(tmp_path / "lake", create=True) as lake:
        scores = []
        for name in ("first", "second"):
            write_parquet(
                lake.root / f"{name}.parquet",
                table.replace_schema_metadata({"endoforge": json.dumps({"classes": ["polyp"]})}),
            )
            details = {"predictions_file": f"{name}.parquet"}
            scores.append(Score(score_id=name, model_id=name, model=name, details=details, **told, **numbers))  # type: ignore[arg-type]
        drawn = {"draws": "5", "interval": "mean of 5 draws, 0.400 to 0.600"}
        scores.append(Score(score_id="r", model_id="r", model="random weights", details=drawn, **told, **numbers))  # type: ignore[arg-type]
        with record_run(lake, plan_run(stage="evaluate", version=1, config="", inputs=[]), RunContext(runner="serial")) as run:
            run.rows("scores", scores)
        with pytest.raises(CompareError, match=r"can be compared pair by pair \(kumc fcos ap50: the stored predictions have no ap50"):
            run_compare(lake, "first", "second")
        with pytest.raises(CompareError, match=r"'random weights' stands for the mean of several draws.*evaluate with --random-draws 1"):
            run_compare(lake, "first", "random weights")
        with pytest.raises(CompareError, match="'first' and 'fir' are one model; give two"):
            run_compare(lake, "first", "fir")

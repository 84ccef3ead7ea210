"""`endoforge evaluate --replay`, typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate_model
from evaluation.tasks import fingerprint, read_task
from flows.cli.cli import main
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.store import write_parquet


def test_a_replay_says_whether_it_is_the_same_number(
    vit_folder: str, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, config = read_task(colours), EvaluateConfig(heads=("knn",), k=(1, 3), num_bootstrap=20)
    model = ModelRef(model_id="abc", label="ours", path=vit_folder)
    with open_lake(tmp_path / "lake", create=True) as lake:
        told: dict[str, Any] = {"cache_dir": str(lake.root / "staging"), "root": str(lake.root), "data": str(colours)}
        scores = evaluate_model(model, task=task, identity=fingerprint(task), config=config, **told)
        plan = plan_run(stage="evaluate", version=1, config={}, inputs=[], seed=0)
        with record_run(lake, plan, RunContext(runner="serial")) as run:
            run.rows("scores", [*scores, replace(scores[0], score_id="few", details={"shots": "1 per class", "draw": "0"})])
        assert len(lake.rows("SELECT * FROM leaderboard")) == len(scores), "few-shot curves are left out"

    def replay(*options: str) -> tuple[int, str]:
        code = main(["evaluate", "--lake", str(tmp_path / "lake"), "--replay", scores[0].score_id[:12], *options])
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    code, said = replay("--device", "cpu")
    assert code == 0, said
    assert f"from its stored predictions: {scores[0].value:.6f}, the same number" in said
    assert f"from its stored head, on features computed again: {scores[0].value:.6f}, the same number" in said
    code, said = replay("--data", str(tmp_path))
    assert code == 0
    assert "not from its stored head: 12 files of the test split are not below" in said
    predictions = tmp_path / "lake" / scores[0].details["predictions_file"]
    table = pq.read_table(predictions)
    labels = table["prediction"].to_pylist()
    turned = ["red" if label != "red" else "blue" for label in labels]
    write_parquet(predictions, table.set_column(table.column_names.index("label"), "label", [turned]))
    code, said = replay("--data", str(tmp_path))
    assert (code, "ANOTHER number: it differs by " in said) == (1, True)
    assert main(["evaluate", "--lake", str(tmp_path / "lake"), "--replay", "0000"]) == 1
    assert "0 scores of this lake have an id that starts with '0000'" in capsys.readouterr().err
    assert replay("--seed", "3")[0] == 1

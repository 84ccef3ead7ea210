import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.helpers.rows import sparse_row
from warehouse.ancestry import lineage
from warehouse.answers import answer
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.lineage import RunContext, completed_run_id, plan_run, record_run, run_outputs
from warehouse.records import Artifact, Reject

VIDEO = Artifact(artifact_id="a" * 64, kind="video", uri="file:///v.mp4")
DEDUP = Artifact(artifact_id="b" * 64, kind="dedup", uri="tables/main/dedup", num_rows=3)
TREE = Artifact(artifact_id="c" * 64, kind="cluster_tree", uri="clusters/c", num_rows=2)
SERIAL = RunContext(runner="serial")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path, create=True)


def test_a_run_is_named_by_what_determines_its_result() -> None:
    first = plan_run(stage="s", version=1, config={"x": 1}, inputs=[VIDEO, DEDUP])
    assert first.run_id == plan_run(stage="s", version=1, config={"x": 1}, inputs=[DEDUP, VIDEO]).run_id
    others = [
        plan_run(stage="t", version=1, config={"x": 1}, inputs=[VIDEO, DEDUP]),
        plan_run(stage="s", version=2, config={"x": 1}, inputs=[VIDEO, DEDUP]),
        plan_run(stage="s", version=1, config={"x": 2}, inputs=[VIDEO, DEDUP]),
        plan_run(stage="s", version=1, config={"x": 1}, inputs=[VIDEO]),
    ]
    assert len({first.stage_key, *(other.stage_key for other in others)}) == 5


def test_rows_artifacts_and_run_record_are_committed_together(lake: Lake) -> None:
    plan = plan_run(stage="dedup", version=1, config={}, inputs=[VIDEO], seed=7)
    with record_run(lake, plan, SERIAL) as run:
        run.rows("rejects", [sparse_row("rejects", uri="file:///x", reason="empty")])
        run.output(DEDUP)
        run.metrics["num_frames"] = 3
        assert lake.rows("FROM rejects") == []
    assert completed_run_id(lake, plan) == plan.run_id
    assert run_outputs(lake, plan.run_id) == (DEDUP,)
    assert lake.rows("SELECT uri, run_id FROM rejects") == [{"uri": "file:///x", "run_id": plan.run_id}]
    (row,) = lake.rows("SELECT stage, status, seed, metrics, runner FROM runs")
    assert row == {"stage": "dedup", "status": "complete", "seed": 7, "metrics": '{"num_frames": 3}', "runner": "serial"}


def test_a_run_says_how_much_memory_it_took_with_its_children_unless_ray_had_them(lake: Lake) -> None:
    for runner in ("serial", "ray"):
        with record_run(lake, plan_run(stage=runner, version=1, config={}, inputs=[]), RunContext(runner=runner)):
            child = "x = bytearray(300_000_000); import time; time.sleep(0.6)"
            subprocess.run([sys.executable, "-c", child], check=True)
    by_stage = {row["stage"]: row["peak_memory_bytes"] for row in lake.rows("SELECT stage, peak_memory_bytes FROM runs")}
    assert by_stage["serial"] > 300_000_000
    assert by_stage["ray"] is None


REJECT = Reject(uri="file:///x", video_id=None, ingest_key="k", num_bytes=1, reason="empty", detail="no byte")


@pytest.mark.parametrize("misspelt", [{"reson": "empty"}, {"reason": "empty", "colour": "red"}])
def test_a_misspelt_or_unknown_column_is_refused(lake: Lake, misspelt: dict[str, object]) -> None:
    row = {name: value for name, value in asdict(REJECT).items() if name != "reason"} | misspelt
    plan = plan_run(stage="s", version=1, config={}, inputs=[])
    with pytest.raises(ValueError, match=r"a row of table rejects .*has unknown (reson|colour); name every column"):
        with record_run(lake, plan, SERIAL) as run:
            run.rows("rejects", [row])
    assert lake.rows("FROM rejects") == []
    assert [row["status"] for row in lake.rows("SELECT status FROM runs")] == ["failed"]


def test_a_missing_column_is_refused_and_none_is_a_value(lake: Lake) -> None:
    with record_run(lake, plan_run(stage="s", version=1, config={}, inputs=[]), SERIAL) as run:
        run.rows("rejects", [REJECT, {**asdict(REJECT), "detail": None}])
        short = {name: value for name, value in asdict(REJECT).items() if name not in ("detail", "num_bytes")}
        with pytest.raises(ValueError, match="a row of table rejects lacks detail, num_bytes; name every column, with None"):
            run.rows("rejects", [REJECT, short])
        with pytest.raises(ValueError, match="constants of table frames are ingest_kee; give columns"):
            run.parts("frames", [], ingest_kee="k")
    assert lake.rows("SELECT detail, run_id FROM rejects ORDER BY ALL") == [
        {"detail": "no byte", "run_id": run.run_id},
        {"detail": None, "run_id": run.run_id},
    ]


def test_a_failed_run_is_recorded_without_its_rows(lake: Lake) -> None:
    plan = plan_run(stage="dedup", version=1, config={}, inputs=[])
    with pytest.raises(RuntimeError, match="boom"), record_run(lake, plan, SERIAL) as run:
        run.rows("rejects", [sparse_row("rejects", uri="file:///x")])
        raise RuntimeError("boom")
    assert lake.rows("FROM rejects") == []
    assert lake.rows("SELECT status, error FROM runs") == [{"status": "failed", "error": "RuntimeError: boom"}]
    assert completed_run_id(lake, plan) is None


def test_the_same_work_twice_is_committed_once_and_said(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_run(stage="dedup", version=1, config={}, inputs=[])
    for _ in range(2):
        with record_run(lake, plan, SERIAL) as run:
            run.rows("rejects", [sparse_row("rejects", uri="file:///x")])
        assert run.is_superfluous == bool(caplog.messages)
    assert caplog.messages == [f"{plan.run_id} was committed before, by another process or an earlier run; this one's rows are left out"]
    assert len(lake.rows("FROM rejects")) == 1
    assert len(lake.rows("FROM runs")) == 1


def test_a_run_is_recorded_by_what_it_turned_out_to_be_or_not_at_all(lake: Lake) -> None:
    wanted, done = (plan_run(stage="s", version=1, config={}, inputs=inputs) for inputs in ([VIDEO, DEDUP], [VIDEO]))
    with record_run(lake, wanted, SERIAL) as run:
        run.is_void = True
    assert lake.rows("FROM runs") == []
    with record_run(lake, wanted, SERIAL) as run:
        run.plan = done
        run.rows("rejects", [sparse_row("rejects", uri="file:///x")])
    assert lake.rows("SELECT run_id FROM rejects") == [{"run_id": done.run_id}]
    assert lake.rows("SELECT artifact_id FROM edges") == [{"artifact_id": VIDEO.artifact_id}]
    assert (completed_run_id(lake, wanted), completed_run_id(lake, done)) == (None, done.run_id)


def record_chain(lake: Lake) -> None:
    for stage, inputs, outputs in (("dedup", [VIDEO], [DEDUP]), ("cluster", [DEDUP], [TREE])):
        with record_run(lake, plan_run(stage=stage, version=1, config={}, inputs=inputs), SERIAL) as run:
            run.output(*outputs)


def test_the_tree_leads_back_to_the_video_and_forward_again(lake: Lake) -> None:
    record_chain(lake)
    origin, uses = lineage(lake, "cccccccc")
    assert origin.label.startswith("cluster_tree cccccccccccccccc (clusters/c, 2 rows)")
    (cluster,) = origin.children
    (dedup,) = cluster.children
    (run,) = dedup.children
    assert [child.label for child in run.children] == ["video aaaaaaaaaaaaaaaa (file:///v.mp4)"]
    assert uses.children == ()
    _, from_video = lineage(lake, VIDEO.artifact_id)
    assert from_video.children[0].children[0].children[0].children[0].label.startswith("cluster_tree")


def test_ancestry_in_sql_reaches_everything_upstream(lake: Lake) -> None:
    record_chain(lake)
    rows = lake.rows("SELECT kind, depth FROM ancestry($1)", [TREE.artifact_id])
    assert rows == [{"kind": "cluster_tree", "depth": 0}, {"kind": "dedup", "depth": 1}, {"kind": "video", "depth": 2}]


@pytest.mark.parametrize(("identifier", "message"), [("zzzzzzzz", "nothing in"), ("aaa", "too short")])
def test_an_id_that_names_nothing_says_so(lake: Lake, identifier: str, message: str) -> None:
    record_chain(lake)
    with pytest.raises(LakeError, match=message):
        lineage(lake, identifier)


def test_an_ambiguous_id_says_so(lake: Lake) -> None:
    twins = [Artifact(artifact_id="d" * 10 + end, kind="video", uri=end) for end in ("1", "2")]
    with record_run(lake, plan_run(stage="s", version=1, config={}, inputs=twins), SERIAL):
        pass
    with pytest.raises(LakeError, match="start of several ids"):
        lineage(lake, "d" * 10)


@pytest.mark.parametrize(("format", "expected"), [("csv", '"n","s"\n1,"a,""b"\n'), ("json", '[\n {\n  "n": 1,\n  "s": "a,\\"b"\n }\n]\n')])
def test_answers_are_valid_csv_and_json(lake: Lake, format: str, expected: str) -> None:
    assert answer(lake, """SELECT 1 AS n, 'a,"b' AS s""", format=format) == expected  # type: ignore[arg-type]


def test_a_table_shows_every_cell_as_text(lake: Lake) -> None:
    shown = answer(lake, "SELECT '[red]x[/red]' AS markup, NULL AS nothing, [1, 2] AS list", format="table")
    assert "[red]x[/red]" in shown
    assert "[1, 2]" in shown
    assert shown.endswith("1 rows\n")

"""The text of a plan."""

from pathlib import Path

from curation.planning.cost import Cost
from flows.planning.table import PlanLine, plan_table, what_fits

SIMILARITY = Cost(items=120_000, unit="operation", memory_bytes=1_500_000_000, kept_bytes=12_000_000, staged_bytes=140_000_000)
SHARD = Cost(items=1000, unit="byte", memory_bytes=1_200_000_000, kept_bytes=50_000_000)


def test_stages_stand_in_rows_and_their_sum_below() -> None:
    lines = [
        PlanLine(stage="embed"),
        PlanLine(stage="similarity", cost=SIMILARITY, seconds=200, source="run of 60,000"),
        PlanLine(stage="shard 1000", cost=SHARD, seconds=3, source="assumed"),
    ]
    assert plan_table(lines) == [
        "stage         items       time  peak memory     disk  rate from",
        "embed                     done",
        "similarity  120,000      3 min       1.5 GB   0.2 GB  run of 60,000",
        "shard 1000    1,000  under 5 s       1.2 GB  50.0 MB  assumed",
        "together                 3 min       1.5 GB   0.2 GB",
    ]


def test_a_plan_without_work_has_no_sum() -> None:
    assert plan_table([PlanLine(stage="embed")])[-1].split() == ["embed", "done"]


def test_a_plan_that_needs_more_than_there_is_warns(tmp_path: Path) -> None:
    small = what_fits([PlanLine(stage="a", cost=Cost(items=1, unit="row", memory_bytes=1, kept_bytes=1))], tmp_path)
    assert [line.split(":")[0] for line in small] == ["free now"]
    memory = what_fits([PlanLine(stage="a", cost=Cost(items=1, unit="row", memory_bytes=10**15, kept_bytes=1))], tmp_path)
    assert "does not fit in the free memory; lower --max-memory-gb or --workers" in memory[1]
    disk = what_fits([PlanLine(stage="a", cost=Cost(items=1, unit="row", memory_bytes=1, kept_bytes=1, staged_bytes=10**18))], tmp_path)
    assert "does not fit on the disk; free some" in disk[1]

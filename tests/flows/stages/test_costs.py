"""How costs grow with the frames, how runs correct them, and that memory is not promised too low."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation.clustering.config import ClusterConfig
from curation.config import CurateConfig
from curation.dedup.config import DedupConfig
from curation.planning.cost import Rate
from curation.selection.config import SampleConfig
from flows.stages.costs import Sizes, place_cost, rate_of_runs
from flows.stages.order import STAGES
from tests.helpers.growth_lake import make_lake
from warehouse.lake import open_lake
from warehouse.plan_sizes import FormerRun, finished_runs

SIZES = Sizes(config=CurateConfig(size=1000), dim=384, jpeg_bytes=50_000, num_workers=2, num_pictures=10)
BY_NAME = {stage.name: stage for stage in STAGES if stage.cost}
SOME = (1000, 20_000, 400_000, 8_000_000, 160_000_000)


def work(stage: str, num_frames: int, sizes: Sizes = SIZES) -> float:
    """Units of work of a stage."""
    formula = BY_NAME[stage].cost
    assert formula is not None
    return Rate(unit_s=1, source="").seconds(formula(num_frames, sizes), num_cores=1)


def run_of(stage: str, num_frames: int, seconds: float, config: dict[str, Any] | None = None) -> FormerRun:
    metrics = {BY_NAME[stage].frames: num_frames}
    return FormerRun(stage=stage, seconds=seconds, peak_memory_bytes=None, config=config or {}, metrics=metrics)


def test_every_stage_of_curation_has_a_cost() -> None:
    assert list(BY_NAME) == ["ingest", "embed", "holdout", "similarity", "dedup", "cluster", "select", "shard"]


@pytest.mark.parametrize("stage", list(BY_NAME))
def test_more_frames_take_no_less_time_memory_or_disk(stage: str) -> None:
    formula = BY_NAME[stage].cost
    assert formula is not None
    costs = [formula(num_frames, SIZES) for num_frames in SOME]
    for of in (
        [work(stage, num_frames) for num_frames in SOME],
        [cost.memory_bytes for cost in costs],
        [cost.kept_bytes for cost in costs],
        [cost.staged_bytes for cost in costs],
    ):
        assert of == sorted(of)
    assert costs[0].memory_bytes >= 400_000_000


@pytest.mark.parametrize(
    ("stage", "num_frames", "least", "most"),
    [
        *((stage, 10**6, 2, 2) for stage in ("ingest", "embed", "dedup", "select", "shard")),
        ("holdout", 10**6, 1, 2),
        ("similarity", 10**5, 2, 2.1),
        ("similarity", 4 * 10**6, 2.3, 3),
        ("cluster", 2 * 10**4, 3, 4.5),
        ("cluster", 2 * 10**6, 1, 1.2),  # as many clusters for any number above 600,000
    ],
)
def test_twice_the_frames_take_as_much_more_time(stage: str, num_frames: int, least: float, most: float) -> None:
    assert least <= work(stage, 2 * num_frames) / work(stage, num_frames) <= most


def test_settings_that_make_work_cost_it() -> None:
    def changed(**stages: Any) -> Sizes:
        return replace(SIZES, config=replace(SIZES.config, **stages))

    fewer, many = (changed(cluster=ClusterConfig(num_clusters=(k, 10), num_resamples=0)) for k in (100, 1000))
    assert work("cluster", 50_000, many) > 5 * work("cluster", 50_000, fewer)
    assert work("cluster", 50_000, changed(cluster=ClusterConfig(num_resamples=0))) < work("cluster", 50_000)
    assert work("similarity", 50_000, changed(dedup=DedupConfig(num_dedup_clusters=2))) > work("similarity", 50_000)
    assert work("holdout", 50_000, replace(SIZES, num_pictures=20)) == 2 * work("holdout", 50_000)
    spread = changed(sample=SampleConfig(within_leaf="diverse"))
    of_stage = BY_NAME["select"].cost
    assert of_stage is not None
    assert of_stage(50_000, spread).memory_bytes > of_stage(50_000, SIZES).memory_bytes + 500_000_000
    assert place_cost(1000, SIZES, finest=200).item_work == 2 * place_cost(1000, SIZES, finest=100).item_work


def test_clustering_holds_the_vectors_twice_or_the_memory_it_may() -> None:
    def memory(gigabytes: float) -> int:
        cost = BY_NAME["cluster"].cost
        assert cost is not None
        return cost(1_000_000, replace(SIZES, config=replace(SIZES.config, cluster=ClusterConfig(max_memory_gb=gigabytes)))).memory_bytes

    assert memory(8) > 8 * 384 * 1_000_000
    assert memory(8) == memory(4)  # three gigabytes of vectors fit
    assert memory(1) > 1_000_000_000 + 2 * (1 << 30)  # by blocks, with a cell in each worker


def test_the_largest_run_tells_the_rate_and_of_equals_the_latest() -> None:
    embed = BY_NAME["embed"]
    runs = [run_of("embed", 1000, 500), run_of("embed", 4000, 903), run_of("embed", 4000, 403), run_of("embed", 100, 900)]
    rate = rate_of_runs(embed, runs, 8000, SIZES)
    assert rate == Rate(unit_s=0.2, source="run of 4,000")  # on two cores 400 seconds beside three fixed ones
    assert rate_of_runs(BY_NAME["dedup"], runs, 8000, SIZES) is None


@pytest.mark.parametrize(
    ("seconds", "num_frames", "is_told"), [(62, 8000, False), (63, 8000, True), (600, 10**6, True), (600, 10**6 + 1, False)]
)
def test_a_short_run_or_one_of_few_frames_tells_nothing(seconds: float, num_frames: int, is_told: bool) -> None:
    found = rate_of_runs(BY_NAME["embed"], [run_of("embed", 1000, seconds)], num_frames, SIZES)
    assert (found is not None) == is_told


def test_a_run_with_other_settings_is_scaled_by_its_own() -> None:
    had = {"num_clusters": [100, 10], "num_resamples": 0}
    now = replace(SIZES, config=replace(SIZES.config, cluster=ClusterConfig(num_clusters=(100, 10), num_resamples=0)))
    run = run_of("cluster", 50_000, 101, had)
    same, other = rate_of_runs(BY_NAME["cluster"], [run], 50_000, now), rate_of_runs(BY_NAME["cluster"], [run], 50_000, SIZES)
    assert same == other
    assert same is not None
    assert same.unit_s * work("cluster", 50_000, now) == pytest.approx(2 * 100)
    assert same.unit_s * work("cluster", 50_000) > 20_000


def test_memory_that_a_curation_used_is_within_its_cost(tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", num_frames=3000, dim=64).close()
    command = [
        sys.executable,
        "-m",
        "flows.cli.cli",
        "curate",
        "--lake",
        str(tmp_path / "lake"),
        "--name",
        "set",
        "--size",
        "300",
        "--workers",
        "2",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)  # a fork of a warm process would hold PyTorch too
    with open_lake(tmp_path / "lake", read_only=True) as lake:
        runs = {run.stage: run for run in finished_runs(lake) if run.stage not in ("ingest", "embed")}
    assert list(runs) == ["similarity", "dedup", "cluster", "select", "shard"]
    for name, run in runs.items():
        stage = BY_NAME[name]
        assert stage.cost is not None
        sizes = Sizes(config=CurateConfig(size=300), dim=64, jpeg_bytes=700, num_workers=2).of_run(run)
        assert run.peak_memory_bytes
        assert run.peak_memory_bytes <= stage.cost(stage.frames_of(run), sizes).memory_bytes, name

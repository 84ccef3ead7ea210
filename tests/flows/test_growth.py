"""The forecast over a lake of made-up frames that the real flows have curated."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from curation.curate_config import CurateConfig
from flows.curate import run_curate
from flows.growth import FORECAST_FRAMES, FORECAST_IMAGES, stage_growth
from flows.job import Job
from flows.runners import SerialRunner
from tests.benchmarks.growth_lake import ENCODER_ID, make_lake
from warehouse.lake import open_lake


def test_stages_that_have_run_are_forecast_from_their_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=5 * 10**9))
    with make_lake(tmp_path / "lake", num_frames=300, dim=16) as lake:
        run_curate(Job(lake=lake, runner=SerialRunner()), name="set", encoder_id=ENCODER_ID, config=CurateConfig(size=30))
        grown = {stage.stage: stage for stage in stage_growth(lake)}
    assert list(grown) == ["similarity", "dedup", "cluster", "select", "shard"]
    assert [point.num_frames for point in grown["similarity"].points] == [300]
    assert grown["shard"].points[0].num_frames == 30
    assert all(point.memory_bytes and point.seconds > 0 for stage in grown.values() for point in stage.points)
    assert grown["similarity"].line[-1].num_frames == FORECAST_FRAMES
    assert grown["shard"].line[-1].num_frames == FORECAST_IMAGES
    share = grown["cluster"].points[0].num_frames / 300
    assert grown["cluster"].line[-1].num_frames == pytest.approx(FORECAST_FRAMES * share, abs=1)
    for stage in grown.values():
        seconds = [point.seconds for point in stage.line]
        if stage.stage not in ("similarity", "cluster"):  # which are fitted in cells from some size on, and cheaper then
            assert all(later >= earlier * (1 - 1e-9) for earlier, later in itertools.pairwise(seconds))
        assert [name for name, _ in stage.elsewhere] == ["32 cores", "1000 cores"]
        assert stage.line[-1].seconds >= stage.elsewhere[0][1] >= stage.elsewhere[1][1]
    assert "does not fit in this machine's 5 GB" in grown["similarity"].note
    assert "does not fit" not in grown["dedup"].note


def test_a_lake_without_embeddings_has_no_growth(tmp_path: Path) -> None:
    with open_lake(tmp_path, create=True) as lake:
        assert stage_growth(lake) == ()

"""The forecast over a lake of made-up frames that the real flows have curated."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from curation.config import CurateConfig
from flows.job import Job
from flows.runners.runners import SerialRunner
from flows.stages.curate import run_curate
from flows.stages.growth import FORECAST_FRAMES, FORECAST_IMAGES, stage_growth
from flows.stages.order import STAGES as ALL_STAGES
from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run

STAGES = ["similarity", "dedup", "cluster", "select", "shard"]


def curated_lake(root: Path) -> Lake:
    """A lake of 300 frames with one run of each stage, of a second or less."""
    lake = make_lake(root, num_frames=300, dim=16)
    run_curate(Job(lake=lake, runner=SerialRunner()), name="set", encoder_id=ENCODER_ID, config=CurateConfig(size=30))
    return lake


def lengthen(lake: Lake, *, seconds: int, times: int) -> None:
    """Make the lake's runs ones that took so much longer, for so many times as many frames."""
    lake.query(f"UPDATE lake.runs SET started_at = started_at - INTERVAL {seconds} SECOND")
    for name in ("num_frames", "num_candidates", "num_images"):
        lake.query(
            f"""UPDATE lake.runs SET metrics = json_merge_patch(metrics, json_object('{name}', (metrics ->> '{name}')::DOUBLE * {times}))
                WHERE metrics ->> '{name}' IS NOT NULL"""
        )


def test_long_runs_of_many_frames_are_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=5 * 10**9))
    with curated_lake(tmp_path / "lake") as lake:
        lengthen(lake, seconds=600, times=1000)
        grown = {stage.stage: stage for stage in stage_growth(lake)}
    assert list(grown) == STAGES
    assert [point.num_frames for point in grown["similarity"].points] == [300_000]
    assert grown["shard"].points[0].num_frames == 30_000
    assert all(point.memory_bytes and point.seconds > 600 for stage in grown.values() for point in stage.points)
    assert grown["similarity"].line[-1].num_frames == FORECAST_FRAMES
    assert grown["shard"].line[-1].num_frames == FORECAST_IMAGES
    for stage in grown.values():
        seconds = [point.seconds for point in stage.line]
        if stage.stage not in ("similarity", "cluster"):  # which are fitted in cells from some size on, and cheaper then
            assert all(later >= earlier * (1 - 1e-9) for earlier, later in itertools.pairwise(seconds))
        assert [name for name, _ in stage.elsewhere] == ["32 cores", "1000 cores"]
        assert stage.line[-1].seconds >= stage.elsewhere[0][1] >= stage.elsewhere[1][1]
    # sorting grows with the frames: 400 times as many take 400 times as long, start-up apart
    assert grown["dedup"].line[-1].seconds == pytest.approx(600 * FORECAST_FRAMES / 300_000, rel=0.01)
    assert "does not fit in this machine's 5 GB" in grown["similarity"].note
    assert "does not fit" not in grown["dedup"].note


@pytest.mark.parametrize(("seconds", "times"), [(0, 1), (0, 1000), (600, 1)])
def test_short_runs_and_runs_of_few_frames_are_not_forecast(tmp_path: Path, seconds: int, times: int) -> None:
    with curated_lake(tmp_path / "lake") as lake:
        for stage in (stage for stage in ALL_STAGES if stage.cost is None):  # nothing is known of what they cost, as of clips
            with record_run(lake, plan_run(stage=stage.name, version=1, config={}, inputs=[]), RunContext(runner="serial")) as run:
                run.metrics[stage.frames] = 300
        lengthen(lake, seconds=seconds, times=times)
        grown = {told.stage: told for told in stage_growth(lake)}
    assert list(grown) == STAGES
    for told in grown.values():
        assert (told.line, told.elsewhere, told.disk_bytes) == ((), (), 0)
        assert told.note.startswith("no forecast: the longest run spent ")
        assert "run `endoforge curate` on at least " in told.note
    assert grown["dedup"].note.endswith("on at least 120,000 frames and 60 s of work")
    assert grown["shard"].note.endswith("on at least 10,000 frames and 60 s of work")


def test_a_lake_without_embeddings_has_no_growth(tmp_path: Path) -> None:
    with open_lake(tmp_path, create=True) as lake:
        assert stage_growth(lake) == ()

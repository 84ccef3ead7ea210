"""Alerts of a lake, on literal rows of runs at literal times."""

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from flows.stages.alerts import Check, examine_lake
from flows.upkeep_config import AlertConfig
from warehouse.lake import Lake, open_lake
from warehouse.schema import TABLES

NOW = datetime.datetime(2026, 11, 28, 3, 0, tzinfo=datetime.UTC)


def add(lake: Lake, table: str, *rows: dict[str, object]) -> None:
    """Append rows; what they leave out is null."""
    schema = TABLES[table]
    with lake.transaction():
        lake.append(table, pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema))


def run(lake: Lake, run_id: str, stage: str, *, days_ago: float, metrics: str = "{}") -> None:
    at = NOW - datetime.timedelta(days=days_ago)
    add(lake, "runs", {"run_id": run_id, "stage": stage, "status": "complete", "started_at": at, "ended_at": at, "metrics": metrics})


def video(number: int, run_id: str, *, kept: int) -> dict[str, object]:
    return {"video_id": f"{number:064d}", "ingest_key": "k", "run_id": run_id, "num_frames_sampled": 100, "num_frames_kept": kept}


def checked(lake: Lake, **thresholds: float | None) -> dict[str, Check]:
    config = AlertConfig(**{"min_free_gib": 0.0, **thresholds})  # type: ignore[arg-type]
    return {check.name: check for check in examine_lake(lake, config, now=NOW)}


def test_an_empty_lake_has_no_alert(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake", create=True) as lake:
        states = {name: check.state for name, check in checked(lake).items()}
    unknown = ("rejects", "new_videos", "disk", "drift", "kept_share", "audit")
    assert states == {**dict.fromkeys(unknown, "unknown"), "free_space": "ok"}


def test_each_alert_is_raised_beyond_its_threshold_and_not_at_it(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake", create=True) as lake:
        run(lake, "ingest-old", "ingest", days_ago=100)
        add(lake, "videos", *(video(number, "ingest-old", kept=80) for number in range(5)))
        run(lake, "shard-old", "shard", days_ago=95)
        add(lake, "datasets", {"dataset_id": "d", "name": "nightly-1", "kind": "images", "run_id": "shard-old", "num_images": 9})
        run(lake, "ingest-new", "ingest", days_ago=3)
        add(lake, "videos", *(video(number, "ingest-new", kept=30) for number in range(10, 16)))
        reasons = ["not_a_video"] * 4 + ["duplicate"] * 9
        rejects: list[dict[str, object]] = [
            {"uri": f"file:///{n}", "run_id": "ingest-new", "ingest_key": "k", "reason": reason} for n, reason in enumerate(reasons)
        ]
        add(lake, "rejects", *rejects)
        pack = {"artifact_id": "p", "kind": "frame_pack", "uri": "frames/p.tar", "num_bytes": 28 * 2**40}
        add(lake, "artifacts", pack)
        add(lake, "edges", {"run_id": "ingest-new", "artifact_id": "p", "direction": "output"})
        run(lake, "place-new", "place", days_ago=2, metrics='{"drift": 1.75}')

        found = checked(lake)
        assert {name: check.state for name, check in found.items()} == {
            **dict.fromkeys(("rejects", "disk", "drift", "kept_share", "audit"), "alert"),
            **{"new_videos": "ok", "free_space": "ok"},
        }
        assert found["rejects"].value == 0.4  # 4 of 10: a duplicate is no fault
        assert found["rejects"].found == "4 of 10 files rejected in 7 days"
        assert found["new_videos"].value == 3.0
        assert found["drift"].value == 1.75
        assert found["kept_share"].found == "30% of the frames of 6 new videos kept, 80% of 5 earlier ones"
        assert found["audit"].value == 95.0
        assert found["disk"].found.endswith("at 1024.00 GiB a day")

        at = checked(
            lake, max_reject_share=0.4, max_drift=1.75, max_kept_change=0.5, max_audit_days=95, min_disk_days=0, max_quiet_nights=3
        )
        assert {check.state for check in at.values()} == {"ok"}
        assert checked(lake, max_quiet_nights=2.9)["new_videos"].state == "alert"
        assert checked(lake, min_decided=11)["rejects"].state == "unknown"
        assert checked(lake, max_reject_share=None)["rejects"].state == "off"
        add(lake, "audits", {"audit_id": "a", "status": "clean", "reviewer": "R", "recorded_at": NOW - datetime.timedelta(days=5)})
        assert (checked(lake)["audit"].state, checked(lake)["audit"].value) == ("ok", 5.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"max_drift": -1}, "max_drift is -1"), ({"max_reject_share": 2}, "at most 1"), ({"window_days": 0}, "window_days is 0")],
)
def test_thresholds_that_mean_nothing_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlertConfig(**wrong)  # type: ignore[arg-type]

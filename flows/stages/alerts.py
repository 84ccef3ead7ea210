"""Checks of a lake in operation against thresholds: rejects, silence, disk, drift, and audits that are due."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from flows.runners import say, say_undone
from flows.tally import current_tally
from flows.upkeep_config import AlertConfig
from warehouse import watch
from warehouse.dataset_audit import dataset_audit
from warehouse.lake import Lake

__all__ = ["AlertsRaisedError", "Check", "examine_lake", "run_alerts"]

_DAY = datetime.timedelta(days=1)
_GROWTH_DAYS = 28.0
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure of a lake beside its threshold."""

    name: Literal["rejects", "new_videos", "disk", "free_space", "drift", "kept_share", "audit"]
    state: Literal["ok", "alert", "off", "unknown"]
    """off: no threshold is set; unknown: the lake does not say yet"""
    value: float | None
    """in the unit that `found` names; None if unknown"""
    limit: float | None
    found: str
    """the figure in words"""
    remedy: str = ""
    """what to do, of an alert"""


class AlertsRaisedError(RuntimeError):
    """At least one figure is beyond its threshold; the message names all of them."""

    def __init__(self, alerts: tuple[Check, ...]) -> None:
        self.alerts = alerts
        super().__init__(f"{len(alerts)} alerts: " + "; ".join(f"{alert.name}: {alert.found}: {alert.remedy}" for alert in alerts))


def run_alerts(lake: Lake, config: AlertConfig) -> tuple[Check, ...]:
    """Examine a lake and say what was found, one line a check; the caller decides whether an alert is an error."""
    checks = tuple(examine_lake(lake, config, now=datetime.datetime.now(datetime.UTC)))
    current_tally().facts["checks"] = {check.name: check for check in checks}
    for check in checks:
        line = f"alerts: {check.state} {check.name}: {check.found}" + (f"; {check.remedy}" if check.state == "alert" else "")
        (say_undone if check.state == "alert" else say)(line)
    return checks


def examine_lake(lake: Lake, config: AlertConfig, *, now: datetime.datetime) -> Iterator[Check]:
    """Compare what a lake says of itself, and its disk, with thresholds.

    Args:
        lake: the lake, open for reading.
        config: the thresholds.
        now: the time, with its zone.
    """
    yield _rejects(lake, config, now)
    yield _new_videos(lake, config, now)
    yield from _disk(lake, config, now)
    yield _drift(lake, config, now)
    yield _kept_share(lake, config, now)
    yield _audit(lake, config, now)


def _rejects(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Check:
    decided = watch.decided_since(lake, now - config.window_days * _DAY)
    num_files = decided.num_ingested + decided.num_rejected
    share = decided.reject_share if num_files >= max(1, config.min_decided) else None
    return Check(
        name="rejects",
        **_judged(share, config.max_reject_share, is_most=True),
        found=f"{decided.num_rejected} of {num_files} files rejected in {config.window_days:g} days",
        remedy='see why: endoforge sql "SELECT uri, reason, detail FROM rejects"',
    )


def _new_videos(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Check:
    last = watch.last_video_at(lake) or watch.first_run_at(lake)
    days = _days(now, last)
    return Check(
        name="new_videos",
        **_judged(days, config.max_quiet_nights, is_most=True),
        found="nothing has run yet" if days is None else f"{days:.1f} days since the newest video",
        remedy="look whether recordings still arrive where `videos` points to",
    )


def _disk(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Iterator[Check]:
    free = shutil.disk_usage(lake.root).free
    age = _days(now, watch.first_run_at(lake))
    per_day = watch.bytes_written_since(lake, now - _GROWTH_DAYS * _DAY) / min(_GROWTH_DAYS, max(1.0, age or 0.0))
    days = free / per_day if per_day else None
    yield Check(
        name="disk",
        **_judged(days, config.min_disk_days, is_most=False),
        found="the lake has not grown" if days is None else f"full in {days:.0f} days at {per_day / _GIB:.2f} GiB a day",
        remedy="give the lake more room, or delete datasets and checkpoints that nobody needs",
    )
    yield Check(
        name="free_space",
        **_judged(free / _GIB, config.min_free_gib, is_most=False),
        found=f"{free / _GIB:.1f} GiB free",
        remedy="free some space before the next run",
    )


def _drift(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Check:
    drift = watch.last_drift(lake, now - config.window_days * _DAY)
    return Check(
        name="drift",
        **_judged(drift, config.max_drift, is_most=True),
        found="no new frames were placed"
        if drift is None
        else f"new frames lie {drift:.2f} times as far from their centroids as the tree's",
        remedy="look at the newest videos: another device, another procedure or a fault of the recorder",
    )


def _kept_share(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Check:
    (num_before, before), (num_after, after) = watch.kept_shares(lake, now - config.window_days * _DAY)
    change = abs(after - before) if num_before and num_after else None
    found = f"{after:.0%} of the frames of {num_after} new videos kept, {before:.0%} of {num_before} earlier ones"
    return Check(
        name="kept_share",
        **_judged(change, config.max_kept_change, is_most=True),
        found=found if change is not None else "no earlier and new videos to compare",
        remedy='see what was dropped: endoforge sql "FROM per_video"',
    )


def _audit(lake: Lake, config: AlertConfig, now: datetime.datetime) -> Check:
    days = _days(now, watch.last_sign_off(lake))
    if config.max_audit_days is not None and (made := watch.latest_dataset_made(lake)):
        verdict = dataset_audit(lake, made[1])
        if verdict.status == "findings":
            found = f"dataset {made[0]} holds {verdict.num_removed} frames that were removed"
            return Check(
                name="audit", state="alert", value=days, limit=config.max_audit_days, found=found, remedy="curate again without them"
            )
    return Check(
        name="audit",
        **_judged(days, config.max_audit_days, is_most=True),
        found="no dataset yet" if days is None else f"{days:.1f} days since a privacy audit was signed, or since the first dataset",
        remedy="draw one with `endoforge privacy-audit` and let a person sign it",
    )


def _judged(value: float | None, limit: float | None, *, is_most: bool) -> dict[str, Any]:
    state = "off" if limit is None else "unknown" if value is None else "ok"
    if limit is not None and value is not None and (value > limit if is_most else value < limit):
        state = "alert"
    return {"state": state, "value": value, "limit": limit}


def _days(now: datetime.datetime, then: datetime.datetime | None) -> float | None:
    return None if then is None else (now - then) / _DAY

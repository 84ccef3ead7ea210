"""What came of a command or a flow: a JSON summary, and gauges in a text file for a monitor.

Neither names a file, a video or a patient: both may be read where the lake may not.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.open_metrics import Gauge, open_metrics
from flows.stages import Check
from flows.tally import Tally, tallied
from warehouse import watch
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.private_files import as_invoked
from warehouse.provenance import current_provenance
from warehouse.queries import funnel_rows
from warehouse.store import atomic_file

__all__ = ["Outcome", "gauges_of", "reported", "summary_of"]

SUMMARY_VERSION = 1
"""Raised if a field of the summary changes its meaning or goes."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    command: str
    lake: Path | None
    started_at: datetime.datetime
    tally: Tally
    duration_s: float = 0.0
    exit_code: int = 0
    error: str | None = None
    """class of the exception that ended it; its message, which may name a file, is on stderr"""

    @property
    def checks(self) -> tuple[Check, ...]:
        """Of the lake against thresholds, if these were looked at."""
        return tuple(self.tally.facts.get("checks", {}).values())


@contextlib.contextmanager
def reported(command: str, lake: Path | None, *, summary: Path | None, metrics_file: Path | None) -> Iterator[Outcome]:
    """Do a command's work inside; on leaving, also by an error, its summary and its gauges are written whole or not at all.

    Args:
        command: its name.
        lake: that it works on, if it works on one.
        summary: JSON file to write, or None.
        metrics_file: OpenMetrics text file to write, or None.
    """
    with tallied() as tally:
        outcome = Outcome(command=command, lake=lake, started_at=datetime.datetime.now(datetime.UTC), tally=tally)
        try:
            yield outcome
        except BaseException as error:
            outcome.exit_code = 130 if isinstance(error, KeyboardInterrupt) else 1
            outcome.error = type(error).__name__
            raise
        finally:
            outcome.duration_s = (datetime.datetime.now(datetime.UTC) - outcome.started_at).total_seconds()
            if summary is not None or metrics_file is not None:
                with (
                    contextlib.suppress(OSError) if outcome.error else contextlib.nullcontext()
                ):  # the command's own error is the one to show
                    _write(outcome, summary, metrics_file)


def _write(outcome: Outcome, summary: Path | None, metrics_file: Path | None) -> None:
    with _opened(outcome.lake) as lake:
        if summary is not None:
            _put(summary, json.dumps(summary_of(outcome, lake), ensure_ascii=False, indent=1) + "\n")
        if metrics_file is not None:
            _put(metrics_file, open_metrics(gauges_of(outcome, lake)))


def _put(path: Path, text: str) -> None:
    with as_invoked(), atomic_file(path) as file:  # a monitor is another user
        file.write(text.encode())


@contextlib.contextmanager
def _opened(root: Path | None) -> Iterator[Lake | None]:
    """The lake if it can be read: a command may have ended before there was one."""
    try:
        lake = open_lake(root, read_only=True) if root is not None else None
    except (LakeError, OSError):
        lake = None
    with lake or contextlib.nullcontext():
        yield lake


def summary_of(outcome: Outcome, lake: Lake | None) -> dict[str, Any]:
    """The summary as plain values; what the lake would say is null where it cannot be read."""
    tally = outcome.tally
    run_ids = tally.run_ids
    counted = watch.frames_of_runs(lake, run_ids) if lake else None
    return {
        "summary_version": SUMMARY_VERSION,
        "command": outcome.command,
        "endoforge": version("endoforge"),
        "host": current_provenance().host,
        "lake": str(outcome.lake) if outcome.lake else None,
        "started_at": outcome.started_at.isoformat(timespec="seconds"),
        "duration_s": round(outcome.duration_s, 3),
        "exit_code": outcome.exit_code,
        "error": outcome.error,
        "files": dict(tally.facts["files"]) if "files" in tally.facts else None,
        "rejected_by_reason": watch.rejects_of_runs(lake, run_ids) if lake else None,
        "frames": None
        if counted is None
        else {"kept": counted.get("kept", 0), "dropped_by_reason": {reason: num for reason, num in counted.items() if reason != "kept"}},
        "datasets": watch.datasets_of_runs(lake, run_ids) if lake else None,
        "stages": {name: {**asdict(stage), "seconds": round(stage.seconds, 3)} for name, stage in tally.stages.items()},
        "run_ids": run_ids,
        "checks": [asdict(check) for check in outcome.checks],
        "not_done": tally.not_done,
    }


def gauges_of(outcome: Outcome, lake: Lake | None) -> list[Gauge]:
    """How the command ended and, if the lake can be read, what it holds by now."""
    of_command = {"command": outcome.command}
    ended = outcome.started_at + datetime.timedelta(seconds=outcome.duration_s)
    gauges = [
        Gauge("command_exit_code", "Exit code of the command's last run, 0 only if it did its work", [(of_command, outcome.exit_code)]),
        Gauge("command_duration_seconds", "How long the command's last run took", [(of_command, outcome.duration_s)]),
        Gauge("command_ended_timestamp_seconds", "When the command last ended, in seconds since 1970", [(of_command, ended.timestamp())]),
        Gauge("command_not_done", "Shortfalls of the command's last run", [(of_command, len(outcome.tally.not_done))]),
    ]
    if files := outcome.tally.facts.get("files"):
        states = [({"state": name}, count) for name, count in files.items() if isinstance(count, int)]
        gauges.append(Gauge("ingest_files", "Files of the last ingest by what became of them", states))
    for name, what in (("value", "Figure of each check of the lake"), ("limit", "Threshold of each check of the lake")):
        figures = [({"check": check.name}, float(getattr(check, name))) for check in outcome.checks if getattr(check, name) is not None]
        gauges += [Gauge(f"check_{name}", what, figures)] if figures else []
    if outcome.checks:
        raised = [({"check": check.name}, int(check.state == "alert")) for check in outcome.checks]
        gauges.append(Gauge("alert", "1 for each check of the lake that is beyond its threshold, else 0", raised))
    return gauges + (_gauges_of_lake(lake) if lake else [])


def _gauges_of_lake(lake: Lake) -> list[Gauge]:
    counts = watch.stage_counts(lake)
    usage = shutil.disk_usage(lake.root)
    frames = [({"state": row["step"], "reason": row["reason"]}, row["num_frames"]) for row in funnel_rows(lake)]
    runs = [({"stage": row["stage"], "status": row["status"]}, row["num_runs"]) for row in counts]
    last = [({"stage": row["stage"], "status": row["status"]}, row["last_at"].timestamp()) for row in counts]
    return [
        Gauge("frames", "Current frames of the lake: sampled, kept, and dropped by reason", frames),
        Gauge("runs", "Runs of the lake by stage and status", runs),
        Gauge("run_last_timestamp_seconds", "When the last run of a stage ended, in seconds since 1970", last),
        Gauge("disk_free_bytes", "Free space on the lake's disk", [({}, usage.free)]),
        Gauge("disk_size_bytes", "Size of the lake's disk", [({}, usage.total)]),
    ]

"""`endoforge plan` and `run --plan`: a sample of the files, and what the whole run would take, as text or JSON; nothing is written."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.planning import Archive, Estimate, probe_archive
from curation.sources import find_videos, is_manifest, listed_videos, patient_key, read_manifest
from flows.config import RunConfig
from flows.planning.forecast import Former, StageForecast, forecast, former_of, measured_rates
from flows.planning.machines import Machine
from flows.planning.table import data_size, duration
from warehouse.catalog import has_lake
from warehouse.lake import open_lake
from warehouse.records import VideoRef

__all__ = ["RunPlan", "plan_run", "plan_run_json", "plan_run_text"]

_READ_BYTES_S = 200e6
"""Of a network drive; assumed, for the least time that reading takes."""
_USUAL_COLUMNS, _LEAST_ROOM = 140, 28
"""Columns if nothing tells them, and the fewest that the last cell of a row gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Everything that a plan says."""

    archive: Archive
    machines: tuple[tuple[Machine, tuple[StageForecast, ...]], ...]
    lake: Path | None
    """whose recorded runs were asked"""
    free_bytes: int
    """of the disk that the lake is on, or would be"""
    probed_s: float


def plan_run(config: RunConfig, machines: Sequence[Machine], *, within_s: float) -> RunPlan:
    """Find all files, look into a sample of them for about `within_s` seconds, and forecast the stages for each machine.

    Raises:
        FileNotFoundError: nothing was found at an input.
        ValueError: a manifest or a setting cannot be used.
    """
    started = time.monotonic()
    archive = probe_archive(_videos(config.videos), config.ingest, within_s=within_s)
    former = Former()
    if is_lake := has_lake(config.lake):
        with open_lake(config.lake, read_only=True) as lake:
            former = former_of(lake)
    dim, rate_of = measured_rates(config, archive)
    place = config.lake.absolute()
    nearest = next(folder for folder in (place, *place.parents) if folder.is_dir())
    return RunPlan(
        archive=archive,
        machines=tuple(
            (machine, tuple(forecast(config, archive, machine, dim=dim, rate_of=rate_of, former=former))) for machine in machines
        ),
        lake=config.lake if is_lake else None,
        free_bytes=shutil.disk_usage(nearest).free,
        probed_s=time.monotonic() - started,
    )


def _videos(inputs: Sequence[str]) -> tuple[VideoRef, ...]:
    """Everything that is named, each place once; nothing is read but manifests."""
    tables = [name for name in inputs if is_manifest(Path(name))]
    others = [name for name in inputs if name not in tables]
    found = {video.uri: video for name in tables for video, _ in listed_videos(read_manifest(Path(name), patient_key()))}
    found.update((video.uri, video) for video in (find_videos(others) if others else ()))
    return tuple(found.values())


def plan_run_text(plan: RunPlan) -> str:
    """The plan as lines: what there is, a table for each machine, and what is not in it."""
    archive = plan.archive
    lines = [
        f"looked into {archive.num_headers:,} of {archive.num_videos:,} files, ingested pieces of {archive.num_timed}, "
        f"in {plan.probed_s:.0f} s; nothing is kept",
        "",
        *_columns(_facts(archive)),
    ]
    for machine, stages in plan.machines:
        lines += ["", machine.name, *_columns(_rows(stages)), *_warnings(plan, machine, stages)]
    known = f"{plan.lake} was asked for recorded runs" if plan.lake else "no lake was asked: after a pilot run, --lake makes this surer"
    reading = 2 * archive.num_bytes / _READ_BYTES_S
    lines += [
        "",
        f"range: where the figure is expected to lie; {known}",
        f"every file is read twice: {duration(reading)} at {_READ_BYTES_S / 1e6:.0f} MB/s (assumed), whatever the cores do",
        "embedding is counted on cores, also where there are GPUs: that was not measured",
        "not in it: validation while training, evaluation, the report; near-duplicates are taken to stay unless a lake tells their share",
    ]
    return "\n".join(lines)


def plan_run_json(plan: RunPlan) -> str:
    """The same as JSON: seconds, bytes and counts, each estimate with value, factor and source."""
    archive: dict[str, Any] = {name: value for name, value in asdict(plan.archive).items() if name != "jpegs"}
    machines = [
        {"machine": machine.name, "cores": machine.cores, "stages": [asdict(stage) for stage in stages]}
        for machine, stages in plan.machines
    ]
    return json.dumps({"archive": archive, "machines": machines, "lake": str(plan.lake) if plan.lake else None}, indent=1)


def _facts(archive: Archive) -> list[tuple[str, ...]]:
    unread = f"{archive.num_unreadable} of {archive.num_headers:,} headers cannot be read" if archive.num_unreadable else ""
    return [
        ("", "expected", "range", "from"),
        ("videos", f"{archive.num_videos:,}", "", unread or "listed"),
        ("bytes", data_size(archive.num_bytes), "", "listed"),
        (
            "hours",
            f"{archive.seconds.value / 3600:,.2f}",
            _range(archive.seconds, lambda value: f"{value / 3600:,.2f}"),
            archive.seconds.source,
        ),
        ("frames sampled", f"{archive.sampled.value:,.0f}", _range(archive.sampled, "{:,.0f}".format), archive.sampled.source),
        ("frames kept", f"{archive.kept.value:,.0f}", _range(archive.kept, "{:,.0f}".format), archive.kept.source),
    ]


def _rows(stages: Sequence[StageForecast]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("stage", "items", "time", "range", "memory", "disk", "rate from")]
    for each in stages:
        disk = data_size(each.kept_bytes + each.staged_bytes)
        items = f"{each.items:,} {each.of}"
        rows.append(
            (
                each.stage,
                items,
                duration(each.seconds.value),
                _range(each.seconds, duration),
                data_size(each.memory_bytes),
                disk,
                each.seconds.source,
            )
        )
    low, total, high = (sum(getattr(each.seconds, name) for each in stages) for name in ("low", "value", "high"))
    memory, disk_bytes = max(each.memory_bytes for each in stages), _disk(stages)
    rows.append(("together", "", duration(total), _between(low, high, duration), data_size(memory), data_size(disk_bytes), ""))
    return rows


def _disk(stages: Sequence[StageForecast]) -> int:
    """What stays of all stages, and what the stage that stages most needs beside it."""
    return sum(each.kept_bytes for each in stages) + max(each.staged_bytes for each in stages)


def _warnings(plan: RunPlan, machine: Machine, stages: Sequence[StageForecast]) -> list[str]:
    said = [f"WARNING: {each.stage} {each.note}" for each in stages if each.note]
    if machine.memory_bytes is None:
        return said
    here = data_size(machine.memory_bytes)
    for each in stages:
        if each.memory_bytes > machine.memory_bytes:
            advice = "train on GPUs, or a smaller recipe" if each.stage == "pretrain" else "give fewer --workers"
            said.append(f"WARNING: {each.stage} may need {data_size(each.memory_bytes)} of memory, and there are {here}; {advice}")
    if _disk(stages) > plan.free_bytes:
        wanted, free = data_size(_disk(stages)), data_size(plan.free_bytes)
        said.append(f"WARNING: {wanted} of disk are more than the {free} that are free; put the lake elsewhere")
    return said


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f}" if seconds < 100 * 3600 else f"{seconds / 3600:,.0f}"


def _range(estimate: Estimate, shown: Any) -> str:
    return _between(estimate.low, estimate.high, shown) if estimate.factor > 1 else "known"


def _between(low: float, high: float, shown: Any) -> str:
    return f"{shown(low)} to {shown(high)}" if shown(low) != shown(high) else ""


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of cells, the first and the last at the left; the last is folded to the terminal."""
    *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    place = sum(widths) + 2 * len(widths)
    room = max(_LEAST_ROOM, shutil.get_terminal_size((_USUAL_COLUMNS, 24)).columns - place)
    lines = []
    for first, *cells, last in rows:
        shown = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        folded = textwrap.wrap(last, room) or [""]
        lines += ["  ".join([*shown, folded[0]]).rstrip(), *(" " * place + more for more in folded[1:])]
    return lines

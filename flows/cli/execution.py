"""What commands have in common: how they run, and on which lake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from flows.runners import RunnerName

__all__ = ["Alone", "Asking", "Execution", "Flat", "FlatAlone", "FlatAsking", "OfLake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a command runs."""

    runner: RunnerName = "processes"
    """serial: in this process; processes: one worker a core; ray: a local cluster, or the one RAY_ADDRESS names"""
    workers: int | None = None
    """worker processes; as many as there are cores unless given"""
    summary: Path | None = None
    """JSON file to write at the end, also of a failed command: counts, reasons, datasets, seconds, and what was not done"""
    metrics_file: Path | None = None
    """file to write at the end, also of a failed command: gauges as OpenMetrics text, such as for node_exporter's textfile collector"""
    debug: bool = False
    """show the traceback of an error"""


Flat = Annotated[Execution, arg(name="")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfLake:
    """A command about one lake."""

    lake: Path
    """folder of the lake"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a question is answered."""

    runner: RunnerName = "serial"
    """taken as by every command; a question is always answered in this process"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """How a command runs that does all its work in this process."""

    runner: RunnerName = "serial"
    """taken as by every command; all is done in this process"""
    summary: Path | None = None
    """JSON file to write at the end, also of a failed command: counts, reasons, datasets, seconds, and what was not done"""
    metrics_file: Path | None = None
    """file to write at the end, also of a failed command: gauges as OpenMetrics text, such as for node_exporter's textfile collector"""
    debug: bool = False
    """show the traceback of an error"""


FlatAlone = Annotated[Alone, arg(name="")]
FlatAsking = Annotated[Asking, arg(name="")]

"""All stages at once: the demo, a run, and the plan of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from curation.phantom import PhantomConfig
from flows.cli.execution import Execution, Flat
from flows.config import RunConfig

__all__ = ["PROBE_S", "Demo", "Plan", "Run"]

PROBE_S = 30.0
"""seconds in which a plan looks into files unless told otherwise"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Make phantom videos, do with them everything that `run` does, and write DIR/report.html."""

    out: Path = Path("demo")
    """folder to fill"""
    execution: Flat = field(default_factory=Execution)
    phantom: PhantomConfig = field(default_factory=lambda: PhantomConfig(spread=0.3))
    size: int = 500
    """images in the curated dataset"""
    recipe: str = "demo"
    """of the pretraining; smoke is over in seconds and learns nothing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunConfig):
    """Videos to a scored model: ingest, embed, curate, pretrain, evaluate and report, as one Prefect flow."""

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO [VIDEO ...]")]
    """files, folders (searched recursively; the images of one folder are a video), globs, URIs of these such as s3://bucket/folder, or a
    manifest (.csv or .parquet: uri, patient, site, device, procedure, date)"""
    size: int
    """images to curate; all candidates where there are fewer"""
    recipe: str
    """demo, smoke, small, vits14, vitb14, vitl14 or vitg14, the last four also with -fast, -long, -hires or -gram;
    `endoforge pretrain --recipe R --help` shows all its values"""
    plan: bool = False
    """do nothing: look into a sample of the files for a minute, and say what each stage would take here, as `endoforge plan`"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(RunConfig):
    """Look into a sample of the files for a minute and say what `run` would take: hours, frames, days, memory and disk; nothing is kept.

    It takes the options of `run` and needs no lake; if there is one, its recorded runs make the forecast surer.
    """

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO [VIDEO ...]")]
    """files, folders (searched recursively; the images of one folder are a video), globs, URIs of these such as s3://bucket/folder, or a
    manifest (.csv or .parquet: uri, patient, site, device, procedure, date)"""
    size: int
    """images to curate; all candidates where there are fewer"""
    recipe: str
    """demo, smoke, small, vits14, vitb14, vitl14 or vitg14, the last four also with -fast, -long, -hires or -gram"""
    cores: int | None = None
    """cores of another machine, or of several together, to forecast beside this one; they are taken to be as fast as those here"""
    gpus: str | None = None
    """GPUs of that machine, such as 8xH100: H100, H200, A100, A100-40 or L40S; for pretraining alone"""
    within_s: float = PROBE_S
    """seconds for the sample; listing the files and timing the encoder come on top"""
    lake: Path = Path("lake")
    """folder of a lake whose recorded runs tell how fast stages are; need not be there"""
    json: bool = False
    """print JSON: seconds, bytes and counts, each with its factor of uncertainty and its source"""
    debug: bool = False
    """show the traceback of an error"""

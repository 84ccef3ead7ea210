"""The commands that ask and change nothing, as dataclasses: tyro makes the parsers and the help from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from evaluation.config import EvaluateConfig
from flows.cli.execution import Asking, Execution, Flat, FlatAsking, OfLake
from warehouse.object_store import WEB, is_uri, refuse_secrets

__all__ = [
    "Atlas",
    "CheckData",
    "Compare",
    "Datasets",
    "Diff",
    "Doctor",
    "Export",
    "Leaderboard",
    "Lineage",
    "Publish",
    "Report",
    "Sql",
    "Tables",
    "Verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas(OfLake):
    """Show the embedded frames as a map in a browser of this machine: colours, pictures, lasso, SQL; or write it as static files."""

    dataset: str | None = None
    """whose clusters and choices colour the points; the latest unless given"""
    encoder: str | None = None
    """whose embeddings to use, by the name given to `embed`; the latest unless given"""
    beside: str | None = None
    """a second encoder of the lake: its map can be changed to, and its neighbours of a frame stand beside the first one's"""
    head: str | None = None
    """score whose stored head says what each frame shows; of each task the newest one on the map's encoder unless given"""
    most: int = 20_000
    """points shown, at most 1,000,000; of more frames a sample, the same one each time"""
    layout: Literal["pca", "tsne"] = "pca"
    """pca: two principal components, at once; tsne: neighbours lie together, with those beyond 10,000 points placed among these"""
    export: Path | None = None
    """folder to write instead of serving, with the frames' pictures; must not be there yet"""
    port: int = 8420
    """port of 127.0.0.1, on which alone it listens"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckData:
    """Look at a labelled set before any score: one page of counts, sizes, mask overlays, duplicates and leaks; exit code 1 if unusable."""

    data: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """where the task's images are"""
    task: str = "auto"
    """name of a known task, or auto"""
    output: Path | None = None
    """folder for the page, index.html; check-data-TASK in the current folder unless given"""
    lake: Path | None = None
    """whose key makes the digests by which patients stand on the page; without one a known name can be found there"""
    kind: Literal["auto", "classification", "ordinal", "segmentation"] = "auto"
    """what the labels are; found from them unless given"""
    order: str = ""
    """ordinal classes from best to worst, such as none,mild,moderate,severe; not needed if their names end in numbers"""
    max_unreadable: float = 0.01
    """share of the images that may be left out because they cannot be read; one always may, unless this is 0"""
    val_share: float = 0.2
    """share of the training groups that becomes the validation split if the data names none"""
    protocol: str = "clean"
    """how its images are divided: clean, published, made, or one of the task's own names"""
    fold: int | None = None
    """which fold of it is tested, from 0; the task's usual one unless given"""
    num_workers: int = 2
    """threads that decode images"""
    execution: FlatAsking = field(default_factory=Asking)

    @property
    def config(self) -> EvaluateConfig:
        """The same settings, as an evaluation takes them."""
        names = ("kind", "order", "max_unreadable", "val_share", "protocol", "fold", "num_workers")
        return EvaluateConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare(OfLake):
    """Compare two scored models on the test images that both have: differences with intervals over patients."""

    a: Annotated[Positional[str], arg(metavar="MODEL")]
    """a model as the leaderboard calls it, its id, or a unique start of either"""
    b: Annotated[Positional[str], arg(metavar="MODEL")]
    """the other one"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasets(OfLake):
    """List the datasets: content id, images, shards, bytes, when and from what they were made, and whether they were audited."""

    format: Literal["table", "csv", "json"] = "table"
    """form of the answer"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff(OfLake):
    """Compare two datasets: frames in one or both, by video, site and cluster, and the settings that differ."""

    a: Annotated[Positional[str], arg(metavar="DATASET")]
    """name of a dataset"""
    b: Annotated[Positional[str], arg(metavar="DATASET")]
    """name of the other"""
    most: int = 10
    """rows shown of each table, the largest changes first"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(OfLake):
    """Read every shard of a dataset again and compare it with its hash, its sidecar and the lake; exit code 1 where anything differs."""

    name: Annotated[Positional[str], arg(metavar="DATASET")]
    """of the dataset"""
    execution: Flat = field(default_factory=Execution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(OfLake):
    """Write a dataset for other tools, with its cards: ids and pixels, never a path or a name."""

    name: Annotated[Positional[str], arg(metavar="DATASET")]
    """of the dataset"""
    format: Literal["imagefolder", "parquet", "hf"]
    """imagefolder: a folder a coarsest cluster and metadata.csv; parquet: images as bytes beside their columns, a file a tar; hf: a
    repository for the Hugging Face hub with the tars as they are"""
    out: Path
    """folder to write; must not be there yet"""
    execution: Flat = field(default_factory=Execution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish(OfLake):
    """Send a dataset's shards to an object store, where training reads them; typed again, what an interruption left out."""

    name: Annotated[Positional[str], arg(metavar="DATASET")]
    """name of the dataset"""
    to: Annotated[Positional[str], arg(metavar="URI")]
    """empty place in an object store, as s3://bucket/first"""
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if not is_uri(self.to) or self.to.lower().startswith(("file:", *WEB)):
            raise ValueError(f"{self.to!r} is no place in an object store; give a URI such as s3://bucket/first, or copy the folder")
        refuse_secrets(self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(OfLake):
    """Write one self-contained HTML file about the lake and a pretraining run."""

    run: str | None = None
    """pretraining run; the latest unless given"""
    out: Path | None = None
    """file to write; LAKE/runs/RUN/report.html unless given"""
    execution: Flat = field(default_factory=Execution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard(OfLake):
    """List all scores by task, data and metric, the best first, with published figures apart."""

    format: Literal["md", "csv", "html"] = "md"
    """form of the answer"""
    task: str | None = None
    """of this task alone"""
    out: Path | None = None
    """file to write; printed unless given"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(OfLake):
    """Ask the lake: one read-only statement."""

    statement: Annotated[Positional[str], arg(metavar="STATEMENT")]
    """such as "FROM funnel" """
    at: str | None = None
    """the lake as it was then: a version or a tag of `endoforge snapshots`, or a time such as 2026-11-28T12:30"""
    format: Literal["table", "csv", "json"] = "table"
    """form of the answer"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Say what each table and view of a lake is, or what the columns of one are; no lake is needed."""

    name: Annotated[Positional[str | None], arg(metavar="[TABLE]")] = None
    """name of a table, view or macro; all of them unless given"""
    lake: Path | None = None
    """lake whose tables are meant, with columns that installed filters have added to it"""
    format: Literal["table", "csv", "json"] = "table"
    """form of the answer"""
    execution: FlatAsking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage(OfLake):
    """Print the tree from an id back to the videos, and forward to what was made from it."""

    id: Annotated[Positional[str], arg(metavar="ID")] = ""
    """of a score, checkpoint, dataset, shard, frame, video or run; a unique start of it (8 characters), or a dataset's or shard's name"""
    patient: str = ""
    """instead of an id: whose videos, and the datasets, models and scores that hold them; by pseudonym, or by name with the key set"""
    most: int = 8
    """things of one kind shown under a run; the rest is counted"""
    execution: FlatAsking = field(default_factory=Asking)

    def __post_init__(self) -> None:
        if bool(self.id) == bool(self.patient):
            raise ValueError(f"{'both an id and a patient are' if self.id else 'nothing is'} named; give an id, or --patient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Print versions, decoders, the runner, devices and free disk, and name what is wrong."""

    lake: Path | None = None
    """also look at this lake"""
    execution: Flat = field(default_factory=Execution)

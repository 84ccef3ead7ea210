"""From videos to a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from curation.clustering import ClusterConfig
from curation.config import CurateConfig
from curation.dedup import DedupConfig
from curation.embedding import EmbedConfig
from curation.holdout import HoldoutConfig
from curation.ingest import IngestConfig, RequalifyConfig
from flows.cli.execution import Execution, Flat, OfLake

__all__ = ["Curate", "Dedup", "Embed", "Ingest", "Requalify", "SelectForLabels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """Decode videos, drop what teaches nothing or identifies someone, pack the rest."""

    videos: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO [VIDEO ...]")]
    """files, folders (searched recursively; the images of one folder are a video), globs, URIs of these such as s3://bucket/folder, or a
    manifest (.csv or .parquet: uri, patient, site, device, procedure, date)"""
    lake: Path
    """folder of the lake; made if missing"""
    execution: Flat = field(default_factory=Execution)
    config: Annotated[IngestConfig, arg(name="")] = field(default_factory=IngestConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requalify(OfLake):
    """Decide again which frames are kept, by other thresholds, without decoding."""

    execution: Flat = field(default_factory=Execution)
    config: Annotated[RequalifyConfig, arg(name="")] = field(default_factory=RequalifyConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed(OfLake):
    """Turn every kept frame into a vector."""

    config: Annotated[EmbedConfig, arg(name="")] = field(default_factory=EmbedConfig)
    execution: Flat = field(default_factory=Execution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curate(OfLake):
    """Deduplicate, cluster, sample and shard: one immutable dataset."""

    name: str
    """name of the dataset: letters, digits, dot, dash and underscore; {selection} stands for eight digits of its content's id"""
    encoder: str | None = None
    """whose embeddings to use, by the name given to `embed`; the latest unless given"""
    plan: bool = False
    """do nothing: say what each stage that is not done yet would cost in time, memory and disk on this machine"""
    execution: Flat = field(default_factory=Execution)
    config: OmitArgPrefixes[Annotated[CurateConfig, arg(name="")]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedup(OfLake):
    """Find copies, look-alikes and similar frames and say which are left out, or show what other thresholds would do."""

    encoder: str | None = None
    """whose embeddings to use, by the name given to `embed`; the latest unless given"""
    preview: bool = False
    """decide nothing: write a page with the similarity histogram, what each threshold leaves out, and pairs of images at its border"""
    thresholds: tuple[float, ...] = (0.90, 0.95, 0.97, 0.98, 0.99, 0.995)
    """cosines that the preview shows, beside --dedup-threshold"""
    pairs: int = 6
    """pairs of images on each side of a border"""
    out: Path | None = None
    """the preview's file; LAKE/previews/dedup-ID.html unless given"""
    seed: int = 0
    """of the clusters that are searched"""
    execution: Flat = field(default_factory=Execution)
    config: OmitArgPrefixes[Annotated[DedupConfig, arg(name="dedup")]] = field(default_factory=DedupConfig)

    def __post_init__(self) -> None:
        if not self.thresholds or not all(-1 < threshold <= 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds {self.thresholds} are not cosines; give numbers above -1 and at most 1")
        if self.pairs < 1:
            raise ValueError(f"pairs {self.pairs} is too small; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectForLabels(OfLake):
    """Choose the frames that are worth labelling next: pictures, a table, a contact sheet, and files for Label Studio and CVAT."""

    size: int
    """frames to choose; 0 with --given only makes the evaluation set of those labels"""
    given: tuple[Path, ...] = ()
    """labels so far: a labels.csv filled in, exports of Label Studio (JSON, JSON-MIN, CSV) or of CVAT (CVAT for images 1.1, .zip or .xml);
    the label - says that a frame cannot be labelled"""
    classes: tuple[str, ...] = ()
    """classes that labelling tools are to offer; those of the labels given unless named"""
    out: Path | None = None
    """folder to write; must not be there yet; LAKE/labels/ID unless given"""
    max_per_patient: int | None = None
    """most frames chosen of one patient; a video whose patient is unknown counts as a patient of its own"""
    encoder: str | None = None
    """whose embeddings to use, by the name given to `embed`; the latest unless given"""
    seed: int = 0
    """of the clusters; what `curate` made with this one and the settings below is used again"""
    execution: Flat = field(default_factory=Execution)
    holdout: OmitArgPrefixes[HoldoutConfig] = field(default_factory=HoldoutConfig)
    dedup: OmitArgPrefixes[DedupConfig] = field(default_factory=DedupConfig)
    cluster: OmitArgPrefixes[ClusterConfig] = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if self.size < 0 or (self.size == 0 and not self.given):
            raise ValueError(f"size {self.size} is no number of frames to choose; give 1 or more, or 0 with labels given")
        if self.max_per_patient is not None and self.max_per_patient < 1:
            raise ValueError(f"max_per_patient {self.max_per_patient} is too small; give 1 or more")
        if len(set(self.classes)) < len(self.classes) or not all(name.strip() for name in self.classes):
            raise ValueError(f"classes {self.classes} are not different names; give each class once")

"""All that a run is told, in one record: Prefect's parameters and the options of `endoforge run` are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import Fixed, OmitArgPrefixes, Suppress, arg

from curation.clips import ClipConfig
from curation.clustering import ClusterConfig
from curation.config import CurateConfig
from curation.dedup import DedupConfig
from curation.embedding import EmbedConfig
from curation.holdout import HoldoutConfig
from curation.ingest import DeviceConfig, IngestConfig
from curation.selection import SampleConfig
from curation.shards import ShardConfig
from evaluation.config import EvaluateConfig
from evaluation.validation_tasks import Validation, make_validation
from flows.runners import RunnerName
from flows.upkeep_config import AlertConfig, UpkeepConfig

__all__ = ["RunConfig"]

T = TypeVar("T")
NoOption = Annotated[T, Fixed, Suppress]
"""A setting of deployments; `endoforge run` leaves it at its default."""
Unprefixed = OmitArgPrefixes[T]
"""Its options have the names that `endoforge curate` gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Settings of all stages, one record each. A flow takes the settings of its stages; the others keep their defaults."""

    videos: tuple[str, ...] = ()
    """files, folders (searched recursively; the images of one folder are a video), globs, URIs of these such as s3://bucket/folder, or a
    manifest (.csv or .parquet: uri, patient, site, device, procedure, date)"""
    lake: Path
    """folder of the lake; made if missing"""
    size: int | None = None
    """images to curate; all candidates where there are fewer"""
    recipe: str | None = None
    """demo, smoke, small, vits14, vitb14, vitl14 or vitg14, the last four also with -fast, -long, -hires or -gram;
    `endoforge pretrain --recipe R --help` shows all its values"""
    name: str = "curated"
    """name of the dataset"""
    pretrain: NoOption[dict[str, Any] | None] = None
    """values that replace the recipe's, such as `{"train": {"num_steps": 1000}}`"""
    validation: tuple[Path, ...] = ()
    """labelled folders by which checkpoints are chosen; without one they are chosen by how well two views of an image find each other"""
    validation_task: Annotated[tuple[str, ...], arg(name="task")] = ("auto",)
    """task of each folder under --validation, for which the final scores are too; `endoforge evaluate --help` lists them"""
    holdout: Unprefixed[HoldoutConfig] = field(default_factory=HoldoutConfig)
    runner: RunnerName = "processes"
    """serial: in this process; processes: one worker a core; ray: a local cluster, or the one RAY_ADDRESS names"""
    workers: int | None = None
    """worker processes; as many as there are cores unless given"""
    evaluations: NoOption[tuple[tuple[str, str], ...] | None] = None
    """(task, data folder) pairs to score on; the validation data's test split where none are given"""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    train_workers: int = 1
    """training processes: one a GPU, or one on a CPU"""
    min_train_workers: int | None = None
    """the fewest training processes with which a run goes on when machines are lost; it has all again once there is room"""
    init: str | None = None
    """start pretraining from trained weights, as `endoforge pretrain --init`; they must be on this machine"""
    validation_weights: tuple[float, ...] = ()
    """weight of each folder's score in the mean that chooses checkpoints; equal ones unless given"""
    chosen_by: str | None = None
    """the task whose score chooses checkpoints, instead of the mean of all"""
    validation_order: tuple[str, ...] = ()
    """classes of each folder under --validation from best to worst, as none,mild,severe, or - for a folder without; not needed if their
    names end in numbers"""
    validation_protocol: tuple[str, ...] = ("clean",)
    """how the images under --validation are divided: clean, published, made or a name, as of `endoforge evaluate --protocol`; one for all,
    or one for each folder"""
    validation_max_unreadable: float = 0.01
    """share of the images of a folder under --validation that may be left out because they cannot be read"""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    devices: DeviceConfig = field(default_factory=DeviceConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    nested: tuple[int, ...] = ()
    """sizes of further datasets within this one"""
    dedup: Unprefixed[DedupConfig] = field(default_factory=DedupConfig)
    cluster: Unprefixed[ClusterConfig] = field(default_factory=ClusterConfig)
    sample: Unprefixed[SampleConfig] = field(default_factory=SampleConfig)
    shard: Unprefixed[ShardConfig] = field(default_factory=ShardConfig)
    clips: Unprefixed[ClipConfig] = field(default_factory=ClipConfig)
    alerts: NoOption[AlertConfig] = field(default_factory=AlertConfig)
    upkeep: NoOption[UpkeepConfig] = field(default_factory=UpkeepConfig)
    lake_url: NoOption[str | None] = None
    """address under which the lake's folder is served, for a link to the report that opens in a browser"""
    summary: Path | None = None
    """JSON file to write at the end, also of a failed run: counts, reasons, datasets, seconds, and what was not done"""
    metrics_file: Path | None = None
    """file to write at the end, also of a failed run: gauges as OpenMetrics text, such as for node_exporter's textfile collector"""
    seed: int = 0
    """every random draw of curation follows from it"""

    @classmethod
    def of_curation(cls, lake: Path, name: str, config: CurateConfig) -> RunConfig:
        """Of one dataset alone."""
        return cls(lake=lake, name=name, **{setting.name: getattr(config, setting.name) for setting in fields(config)})

    @property
    def curate(self) -> CurateConfig:
        """The settings of curation.

        Raises:
            ValueError: there is no size, or a setting does not go with another.
        """
        settings = {setting.name: getattr(self, setting.name) for setting in fields(CurateConfig)}
        return CurateConfig(**{**settings, "size": self.size or 0})

    @property
    def evaluation_pairs(self) -> tuple[tuple[str, str], ...]:
        """The (task, data folder) pairs to score on."""
        if self.evaluations is not None:
            return self.evaluations
        return tuple((one.task, str(one.data)) for one in self.labelled.tasks)

    @property
    def labelled(self) -> Validation:
        """The labelled sets by which checkpoints are chosen.

        Raises:
            ValueError: they do not go with their names or weights.
        """
        return make_validation(
            self.validation,
            self.validation_task,
            self.validation_weights,
            self.chosen_by,
            orders=self.validation_order,
            protocols=self.validation_protocol,
            max_unreadable=self.validation_max_unreadable,
        )

"""The commands that work, as dataclasses: tyro makes the parsers and the help from them.

Nothing heavy is imported here; each command imports what it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from curation.clustering import ClusterConfig
from curation.config import CurateConfig
from curation.dedup import DedupConfig
from curation.embedding import EmbedConfig
from curation.holdout import HoldoutConfig
from curation.ingest import IngestConfig, RequalifyConfig
from curation.phantom import PhantomConfig
from curation.privacy import AuditConfig, OutOfBodyConfig
from evaluation.config import EvaluateConfig
from evaluation.predict_config import PredictConfig
from evaluation.validation_tasks import Validation, make_validation
from flows.cli.execution import Alone, Execution, Flat, FlatAlone, OfLake
from flows.config import RunConfig
from pretrain.config import PretrainConfig

__all__ = [
    "PROBE_S",
    "SCORES",
    "Curate",
    "Dedup",
    "Demo",
    "Embed",
    "Evaluate",
    "ExportModel",
    "Ingest",
    "Plan",
    "Predict",
    "Pretrain",
    "PrivacyAudit",
    "RemoveOutOfBody",
    "Requalify",
    "Run",
    "SelectForLabels",
]


SCORES = Path("scores")
"""lake of scores where none is given"""
PROBE_S = 30.0
"""seconds in which a plan looks into files unless told otherwise"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Make phantom videos, do with them everything that `run` does, and write DIR/report.html."""

    out: Path = Path("demo")
    """folder to fill"""
    phantom: PhantomConfig = field(default_factory=lambda: PhantomConfig(spread=0.3))
    size: int = 500
    """images in the curated dataset"""
    recipe: str = "demo"
    """of the pretraining; smoke is over in seconds and learns nothing"""
    execution: Flat = field(default_factory=Execution)


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
    config: OmitArgPrefixes[Annotated[CurateConfig, arg(name="")]]
    execution: Flat = field(default_factory=Execution)


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
    config: OmitArgPrefixes[Annotated[DedupConfig, arg(name="dedup")]] = field(default_factory=DedupConfig)
    execution: Flat = field(default_factory=Execution)

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
    holdout: OmitArgPrefixes[HoldoutConfig] = field(default_factory=HoldoutConfig)
    dedup: OmitArgPrefixes[DedupConfig] = field(default_factory=DedupConfig)
    cluster: OmitArgPrefixes[ClusterConfig] = field(default_factory=ClusterConfig)
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.size < 0 or (self.size == 0 and not self.given):
            raise ValueError(f"size {self.size} is no number of frames to choose; give 1 or more, or 0 with labels given")
        if self.max_per_patient is not None and self.max_per_patient < 1:
            raise ValueError(f"max_per_patient {self.max_per_patient} is too small; give 1 or more")
        if len(set(self.classes)) < len(self.classes) or not all(name.strip() for name in self.classes):
            raise ValueError(f"classes {self.classes} are not different names; give each class once")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyAudit(OfLake):
    """Draw frames for a person to look at, or record what that person found; found frames are removed for good.

    With --private, look at pictures that were withheld (dropped as out of body, or hidden under a doubtful mask) and decide about them.
    """

    dataset: str | None = None
    """draw from this dataset's shards, whole clips if it is of clips; from all kept frames unless given"""
    config: Annotated[AuditConfig, arg(name="")] = field(default_factory=AuditConfig)
    sign_off: str | None = None
    """id of the audit whose sheet a person has looked through, or a unique start of it; instead of drawing one"""
    reviewer: str = ""
    """that person's name, as it is to be recorded"""
    found: tuple[int, ...] = ()
    """positions on the sheet of the frames, or clips, that identify someone; none where it is clean"""
    note: str = ""
    """anything else to record"""
    remove_videos: bool = False
    """remove all frames of the found frames' videos"""
    private: bool = False
    """draw withheld pictures, those of flagged videos first, onto a private page (file mode 0600); with --sign-off, decide about them"""
    lift: tuple[int, ...] = ()
    """positions on the private page whose mask is wrong: the picture without it becomes the frame"""
    restore: tuple[int, ...] = ()
    """positions on the private page that show the inside of a patient: they become frames"""
    whole_video: bool = False
    """decide about all withheld pictures of the shown videos: lifted or restored in videos where one was, confirmed in the others"""
    keep_private: bool = False
    """keep the decided private pictures and their page; they are deleted otherwise"""
    purge_private: bool = False
    """delete all private pictures, seen or not, and do nothing else; what was quarantined stays out for good"""
    older_than_days: float = 0.0
    """with --purge-private: only those of videos ingested that many days ago or earlier"""
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.purge_private and (self.sign_off is not None or self.private or self.dataset):
            raise ValueError("got --purge-private with another task, expected it alone or with --older-than-days")
        if self.older_than_days < 0 or (self.older_than_days and not self.purge_private):
            raise ValueError(f"got --older-than-days {self.older_than_days:g}, expected 0 or more days, with --purge-private")
        decided = self.lift or self.restore or self.whole_video or self.keep_private
        if decided and not (self.private and self.sign_off is not None):
            raise ValueError(
                "got a decision about withheld pictures without --private --sign-off AUDIT_ID; the id stands on the private page"
            )
        if self.private and (self.dataset or self.found or self.remove_videos):
            raise ValueError(
                "got --private with --dataset, --found or --remove-videos, which are for audits of frames in use; leave one out"
            )
        if self.sign_off is None and (self.reviewer or self.found or self.note or self.remove_videos):
            raise ValueError("got an outcome without --sign-off AUDIT_ID, expected the id that stands on the sheet")
        if self.sign_off is not None and not self.reviewer.strip():
            raise ValueError('got no --reviewer, expected the name of the person who looked, as in --reviewer "Jane Doe"')
        if self.remove_videos and not self.found:
            raise ValueError("got --remove-videos without --found, expected the positions of the frames whose videos are to go")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOutOfBody(OfLake):
    """Learn from labelled images what is outside the body, and remove such frames for good."""

    labels: Path
    """folder with the folders inside/ and outside/ of images; images of one procedure in a subfolder of their own are kept together"""
    encoder: str = "efficientnet-lite0"
    """whose embeddings to use, by the name given to `embed`"""
    allow_download: bool = False
    """let timm fetch weights of a named encoder from the Hugging Face hub"""
    dry_run: bool = False
    """only say what would be removed"""
    config: OmitArgPrefixes[Annotated[OutOfBodyConfig, arg(name="out-of-body")]] = field(default_factory=OutOfBodyConfig)
    execution: Flat = field(default_factory=Execution)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrain(OfLake):
    """DINOv2 pretraining on a dataset; typed again, it goes on where it was interrupted."""

    dataset: str
    """name of the dataset"""
    recipe: str
    """demo, smoke, small, vits14, vitb14, vitl14 or vitg14, the last four also with -fast, -long, -hires or -gram;
    every option below starts from its values (with --help: those of the recipe named)"""
    validation: tuple[Path, ...] = ()
    """labelled folders by which checkpoints are chosen; without one they are chosen by how well two views of an image find each other"""
    task: tuple[str, ...] = ("auto",)
    """how to read each folder under --validation"""
    train_workers: int = 1
    """training processes: one a GPU, or one on a CPU"""
    min_train_workers: int | None = None
    """the fewest training processes with which a run goes on when machines are lost; it has all again once there is room"""
    init: str | None = None
    """start from trained weights: a file (DINOv2's or DINOv3's own, a plain ViT), a folder (timm's, or a checkpoint of a run), the id of a
    run (its chosen checkpoint), or a timm name; the model becomes theirs, and rate and frozen steps below have other defaults"""
    allow_download: bool = False
    """let --init fetch weights of a name from the Hugging Face hub"""
    resume: str | None = None
    """start another run from the newest checkpoint of this one, with its dataset and settings; --dataset and --recipe are not given then"""
    set: tuple[str, ...] = ()
    """with --resume: settings to change, as section.field=value, such as train.num_steps=200000 optim.base_lr=1e-4"""
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
    replay_nan: str | None = None
    """train nothing: do the step again for which this run stopped as not finite, and name the first module, loss and images concerned"""
    plan: bool = False
    """do nothing: say which memory, speed and hours this takes on --train-workers GPUs; needs no --dataset, and no --lake"""
    plan_gpu: str = "H100"
    """kind of GPU for --plan: H100, H200, A100, A100-40 or L40S"""
    config: Annotated[PretrainConfig, arg(name="")]
    execution: Flat = field(default_factory=Execution)

    @property
    def labelled(self) -> Validation:
        """The labelled sets by which checkpoints are chosen."""
        return make_validation(
            self.validation,
            self.task,
            self.validation_weights,
            self.chosen_by,
            orders=self.validation_order,
            protocols=self.validation_protocol,
            max_unreadable=self.validation_max_unreadable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Score frozen backbones on tasks, each beside random weights and the curation encoder; needs no lake of videos."""

    lake: Path = SCORES
    """folder of the lake the scores go to; made if it is not given and not there"""
    model: Annotated[tuple[str, ...], arg(aliases=("--checkpoint",))]
    """one or several: a pretraining run's id (its chosen checkpoint), a checkpoint's id or unique start, a folder of a run or of timm's
    export, a file of weights (DINOv2's, DINOv3's, GastroNet's), or a timm name"""
    task: tuple[str, ...]
    """names of known tasks, or auto; several with spaces or commas between"""
    data: tuple[Path, ...]
    """where the tasks' images are: one folder for all, or one for each"""
    encoder: str = "efficientnet-lite0"
    """the baseline encoder"""
    allow_download: bool = False
    """let timm fetch weights of a named model from the Hugging Face hub"""
    page: Path | None = None
    """HTML page about these scores; LAKE/scorecard.html unless given"""
    replay: str | None = None
    """score nothing new: compute the score with this id again from its stored predictions and its stored head, and say whether it is the
    same number; takes --lake, and --data if the data was moved"""
    config: OmitArgPrefixes[Annotated[EvaluateConfig, arg(name="evaluate")]] = field(default_factory=EvaluateConfig)
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        """Raises ValueError if there is no model or task, or folders are neither one nor one for each task."""
        if self.replay is not None:
            return
        for name, told in (("--model", self.model), ("--task", self.tasks)):
            if not told:
                raise ValueError(f"{name} is empty; give one or several")
        if len(self.data) not in (1, len(self.tasks)):
            raise ValueError(f"--data has {len(self.data)} folders for {len(self.tasks)} tasks; give one for all of them, or one for each")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of tasks one by one."""
        return tuple(name for told in self.task for name in told.split(",") if name)

    @property
    def pairs(self) -> tuple[tuple[str, Path], ...]:
        """Each task with its folder."""
        folders = self.data * len(self.tasks) if len(self.data) == 1 else self.data
        return tuple(zip(self.tasks, folders, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict(OfLake):
    """Run the stored head of a score over videos and pictures: tables, masks, overlaid videos and a page. Research use only."""

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT [INPUT ...]")]
    """videos, DICOM files of videos, images, folders (searched recursively; the images of one folder are a row) or globs"""
    head: str
    """id of a score whose details have head_file, or a unique start of it of eight characters or more"""
    out: Path
    """folder to fill: new, empty, or that of the same command, which then goes on where it was cut off"""
    config: OmitArgPrefixes[Annotated[PredictConfig, arg(name="predict")]] = field(default_factory=PredictConfig)
    execution: FlatAlone = field(default_factory=Alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportModel(OfLake):
    """Write a checkpoint for other tools, as a folder that a hub takes, with its model card; nothing is sent anywhere."""

    checkpoint: Annotated[Positional[str], arg(metavar="CHECKPOINT")]
    """a pretraining run's id (its chosen checkpoint), a checkpoint's id (a unique start of it, 8 characters), or the folder of a run, a
    checkpoint or a backbone"""
    format: tuple[Literal["timm", "dinov2", "onnx"], ...] = ("timm",)
    """one or several. timm: config.json, model.safetensors and the heads apart, for timm and hubs; dinov2: weights for
    facebookresearch/dinov2; onnx: a file that ONNX Runtime was seen to compute equally"""
    out: Path
    """folder to write; must not be there yet"""
    license: str = ""
    """licence of the weights by its id on the hub, such as cc-by-nc-4.0; unless given, the card marks it as not set"""
    title: str = ""
    """title of the card; architecture and dataset unless given"""
    image_size: int | None = None
    """side in pixels of the ONNX file's input; that of the checkpoint unless given"""
    execution: Flat = field(default_factory=Execution)

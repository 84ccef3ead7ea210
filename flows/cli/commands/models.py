"""Pretraining, and what is done with a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from evaluation.config import EvaluateConfig
from evaluation.predict_config import PredictConfig
from evaluation.validation_tasks import Validation, make_validation
from flows.cli.execution import Alone, Execution, Flat, FlatAlone, OfLake
from pretrain.config import PretrainConfig

__all__ = ["SCORES", "Evaluate", "ExportModel", "Predict", "Pretrain"]

SCORES = Path("scores")
"""lake of scores where none is given"""


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
    execution: Flat = field(default_factory=Execution)
    config: Annotated[PretrainConfig, arg(name="")]

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
    execution: Flat = field(default_factory=Execution)
    config: OmitArgPrefixes[Annotated[EvaluateConfig, arg(name="evaluate")]] = field(default_factory=EvaluateConfig)

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
    execution: FlatAlone = field(default_factory=Alone)
    config: OmitArgPrefixes[Annotated[PredictConfig, arg(name="predict")]] = field(default_factory=PredictConfig)


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

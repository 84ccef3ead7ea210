"""What each command checks before it imports, opens or makes anything heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curation.config import CurateConfig
from evaluation.config import EvaluateConfig
from evaluation.heads import check_head_names
from flows.atlas.most_points import check_most
from flows.cli import commands, questions, upkeep
from flows.cli.check_names import check_names
from flows.cli.execution import OfLake
from flows.cli.reports import check_reports
from flows.stages import (
    STAGES,
    check_count,
    check_dataset_names,
    check_deployments,
    check_encoder,
    check_faiss,
    check_fewest,
    check_given,
    check_held_out,
    check_inputs,
    check_models,
    check_new_folder,
    check_stages,
    check_task,
    check_training,
    check_validation,
    refuse_taken_names,
)
from pretrain.accumulation import check_accumulation
from pretrain.recipes import recipe
from warehouse.catalog import SQLITE_FILE, LakeError, has_lake, no_lake, parse_catalog
from warehouse.object_store import is_uri

__all__ = ["check_command"]


def check_command(command: Any) -> None:
    """Refuse what would fail later; nothing is made.

    Raises:
        ValueError: a name, number, task or table is wrong.
        OSError: a file or folder is missing or cannot be used.
    """
    check_count("workers", getattr(getattr(command, "execution", command), "workers", None))
    check_reports(command)
    _check_lake(command)
    match command:
        case commands.Demo():
            CurateConfig(size=command.size)
            batch_size = recipe(command.recipe).train.batch_size
            check_training(runner=command.execution.runner, train_workers=1, batch_size=batch_size, size=command.size)
            check_new_folder(command.out, "out")
        case commands.Run():
            _check_run(command)
        case commands.Plan():
            _check_plan(command)
        case commands.Ingest():
            check_inputs(command.videos)
            check_new_folder(command.lake, "lake")
        case commands.Embed():
            check_encoder(command.config)
        case commands.Curate():
            check_dataset_names(command.name, command.config)
            check_held_out(command.config.holdout)
            if command.plan and command.config.clips.clips:
                raise ValueError("got --plan with --clips, and costs are known of frames alone; give one of the two")
        case commands.SelectForLabels():
            check_held_out(command.holdout)
            check_given(command.given)
            if command.out is not None:
                check_new_folder(command.out.parent, "the folder of out")
        case questions.Export() | commands.ExportModel():
            check_new_folder(command.out.parent, "the folder of out")
        case questions.Atlas():
            check_most(command.most, is_export=command.export is not None)
            if command.export is not None:
                if command.export.exists():
                    raise FileExistsError(f"{command.export} is there already; give a new folder")
                check_new_folder(command.export.parent, "the folder of export")
        case questions.CheckData():
            from evaluation.tasks import check_data, check_task_name

            check_new_folder(command.output or Path(), "output")
            check_data(command.data)
            command.config  # noqa: B018 - raises for a setting that is out of range
            check_task_name(command.task)
        case questions.Diff():
            check_count("most", command.most)
        case questions.Lineage():
            check_count("most", command.most)
        case commands.RemoveOutOfBody():
            if missing := [name for name in ("inside", "outside") if not (command.labels / name).is_dir()]:
                raise FileNotFoundError(f"labels {str(command.labels)!r} has no folder {' and no folder '.join(missing)}; make them")
        case commands.Pretrain(plan=True):
            check_count("train_workers", command.train_workers)
            if command.resume or command.replay_nan:
                raise ValueError("got --plan with --resume or --replay-nan, expected a recipe; give --recipe and its options instead")
        case commands.Pretrain(replay_nan=str()):
            if command.resume or command.dataset or command.recipe or command.config != recipe("demo"):
                raise ValueError("got --replay-nan with settings or --resume, expected it and --lake alone; the run has its own settings")
        case commands.Pretrain():
            if command.resume:
                _check_resume(command)
            check_validation(command.labelled, command.task)
            batch_size = 0 if command.resume else command.config.train.batch_size  # of any size the number of workers is a part
            check_training(runner=command.execution.runner, train_workers=command.train_workers, batch_size=batch_size)
            check_fewest(command.execution.runner, command.train_workers, command.min_train_workers)
            check_accumulation(command.config, command.train_workers)
        case commands.Evaluate(replay=str()):
            if command.model or command.task or command.config != EvaluateConfig(device=command.config.device):
                raise ValueError(
                    "got --replay with settings, expected a lake, and data or a device at most; the score has its own settings"
                )
        case commands.Evaluate():
            check_head_names(command.config.heads or ())
            for task, data in command.pairs:
                check_task(task, data, command.config)
            _check_models(command)
        case upkeep.InitLake():
            if command.catalog is not None:
                parse_catalog(command.catalog)
        case upkeep.Restore():
            if not is_uri(command.backup) and not (Path(command.backup) / SQLITE_FILE).is_file():
                raise LakeError(f"there is no lake in {command.backup} (no {SQLITE_FILE}); give the folder that `endoforge backup` wrote")
            if command.catalog is not None:
                parse_catalog(command.catalog)
        case upkeep.Deploy():
            check_deployments(command.file)
        case _:
            pass
    check_names(command)
    if isinstance(command, commands.Dedup | commands.Curate | commands.SelectForLabels):
        check_faiss()


def _check_lake(command: Any) -> None:
    """Look for the lake that a command needs, before what could open it is loaded."""
    match command:
        case upkeep.InitLake() | upkeep.Restore() | commands.Pretrain(plan=True):
            return
        case OfLake() | questions.Tables() | questions.CheckData():
            lake: Path | None = command.lake
            if lake is not None and not has_lake(lake):
                raise no_lake(lake.absolute())


def _check_models(command: commands.Evaluate) -> None:
    """Look for the lake that is named, and for every model in it and elsewhere."""
    if has_lake(command.lake):
        from warehouse.lake import open_lake

        with open_lake(command.lake) as lake:
            check_models(lake, command.model)
    elif command.lake == commands.SCORES:
        check_models(None, command.model)
    else:
        inner = command.lake / "lake"
        elsewhere = f"leave --lake out and scores go to the folder {commands.SCORES} here, or give a folder that has one"
        hint = f"did you mean {inner}?" if has_lake(inner) else elsewhere
        raise LakeError(f"there is no lake in {command.lake}; {hint}")


def _check_run(command: commands.Run) -> None:
    check_stages(STAGES, command)
    if has_lake(command.lake):
        from warehouse.lake import open_lake

        with open_lake(command.lake) as lake:
            refuse_taken_names(lake, command.name, command.curate)


def _check_resume(command: commands.Pretrain) -> None:
    if command.dataset or command.recipe or command.config != recipe("demo"):
        raise ValueError("--resume has its run's dataset and settings; leave --dataset and --recipe out, and change settings with --set")
    if command.init:
        raise ValueError("--resume has its run's weights; leave --init out, or start a new run from other weights without --resume")


def _check_plan(command: commands.Plan) -> None:
    check_inputs(command.videos)
    check_count("cores", command.cores)
    if command.within_s <= 0:
        raise ValueError(f"within_s is {command.within_s:g}, expected seconds above 0; give about {commands.PROBE_S:g}")
    command.curate  # noqa: B018 - raises for a size or setting that is out of range
    batch_size = recipe(command.recipe).train.batch_size
    from flows.planning.machines import described_machine

    other = described_machine(command.cores, command.gpus)
    if other and other.num_gpus and batch_size % other.num_gpus:
        raise ValueError(f"gpus is {command.gpus!r}, and these cannot share batches of {batch_size} images evenly; give a divisor of it")
    check_held_out(command.holdout)

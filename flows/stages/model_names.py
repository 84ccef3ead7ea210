"""Whether `--model` names something, looked at before anything is computed. Free of torch and timm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curation.embedding import OFFLINE_ENCODER, check_timm_name, installed_encoders, local_folder
from warehouse.catalog import LakeError
from warehouse.store import read_json

if TYPE_CHECKING:
    from warehouse.lake import Lake

__all__ = ["backbone_folder", "check_models", "no_backbone", "unknown_model"]


def check_models(lake: Lake | None, models: Sequence[str]) -> None:
    """Refuse models of which one is no folder with a backbone, file, id of the lake, encoder or name that timm can know.

    Weights are not opened, so a damaged file and a name without weights on this machine pass.

    Args:
        lake: whose runs and checkpoints have ids; None if there is none yet.
        models: as `--model` names them.

    Raises:
        ValueError: nothing has that name, or the folder holds no backbone.
    """
    for told in models:
        path = Path(told).expanduser()
        if path.is_dir():
            if backbone_folder(path) is None:
                raise no_backbone(told)
        elif not path.is_file():
            _check_name(lake, told)


def backbone_folder(given: Path) -> Path | None:
    """The folder with config.json and model.safetensors that a folder is, or holds as its backbone or its best checkpoint."""
    best = [given / str(read_json(given / "best.json")["path"])] if (given / "best.json").is_file() else []
    return next((folder for folder in (given, given / "backbone", *best) if (folder / "model.safetensors").is_file()), None)


def no_backbone(told: str) -> ValueError:
    """The error for a folder that holds no backbone."""
    return ValueError(f"--model {told} is a folder without model.safetensors, backbone/ or best.json; give a run's or timm's export")


def unknown_model(told: str, why: Exception, of_lake: Exception | None) -> ValueError:
    """The error for a name that nothing has, neither among encoders nor in the lake."""
    return ValueError(f"--model {told}: {why}" + (f"; and {of_lake}" if of_lake else ""))


def _check_name(lake: Lake | None, told: str) -> None:
    unknown: LakeError | None = None
    try:
        if lake is not None:
            from warehouse.model_facts import find_checkpoint

            find_checkpoint(lake, told)
            return
    except LakeError as error:
        unknown = error
    if told in (OFFLINE_ENCODER, *installed_encoders()):
        return
    try:
        if local_folder(told) is None:
            check_timm_name(told)
    except ValueError as error:
        raise unknown_model(told, error, unknown) from error

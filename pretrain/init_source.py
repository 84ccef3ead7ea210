"""Where the initial weights of a run are: what a person calls them, to the file that holds them and what is known of its model.

Nothing here reads a tensor, and only names of timm's models load timm: `endoforge pretrain --help` takes this way too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warehouse.store import file_sha256, read_json

__all__ = ["InitSource", "find_init"]

_HUB = "hf-hub:"
_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
_KEPT_ARGS = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "init_values")
"""Arguments of a timm model that the settings of a run can say."""
_FREE_ARGS = ("in_chans", "num_classes", "global_pool", "dynamic_img_size", "drop_rate", "drop_path_rate", "class_token", "pretrained")
"""Those that change nothing about a backbone's tokens, or that the trainer sets anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSource:
    """Weights to start from."""

    told: str
    """the weights as the person called them"""
    weights: Path
    """file of tensors: .safetensors, or one that torch.load reads"""
    heads: Path | None = None
    """heads.safetensors of a checkpoint of ours"""
    architecture: str | None = None
    """timm name; None if the file alone is known"""
    model_args: dict[str, Any] = field(default_factory=dict)
    """further arguments of timm.create_model"""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """mean and deviation by which images were normalised"""

    def sha256(self) -> dict[str, str]:
        """Hash of each file, by its name; the first is that of the backbone."""
        return {path.name: file_sha256(path) for path in (self.weights, self.heads) if path is not None}


@dataclass(frozen=True, slots=True)
class _Hub:
    """How the Hugging Face hub is asked."""

    allow_download: bool
    cache: Path | None


def find_init(told: str, *, lake_root: Path | None = None, allow_download: bool = False, cache: Path | None = None) -> InitSource:
    """Find initial weights.

    Args:
        told: a file, a folder (timm's, a checkpoint of ours, or a run's, whose best checkpoint is taken), the id of a run in the lake,
            a name of timm's, or hf-hub:OWNER/NAME.
        lake_root: of the lake whose runs may be named.
        allow_download: ask the Hugging Face hub for weights that are not on this machine; only names ever do.
        cache: folder that the hub's files are kept in; its own where not given.

    Raises:
        ValueError: nothing has that name, its weights are not on this machine, or its folder is not a timm model.
    """
    path, hub = Path(told).expanduser(), _Hub(allow_download, cache)
    if path.is_file():
        return _of_file(told, path)
    if path.is_dir():
        return _of_folder(told, path)
    if lake_root is not None and (lake_root / "runs" / told).is_dir():
        return _of_folder(told, lake_root / "runs" / told)
    if told.startswith(_HUB):
        return _of_hub(told, told.removeprefix(_HUB), hub=hub)
    return _of_timm(told, hub=hub)


def _of_file(told: str, path: Path) -> InitSource:
    if path.name == "config.json" or (path.name in _WEIGHTS and (path.parent / "config.json").is_file()):
        return _of_folder(told, path.parent)
    return InitSource(told=told, weights=path)


def _of_folder(told: str, folder: Path) -> InitSource:
    if (folder / "best.json").is_file():
        folder = folder / str(read_json(folder / "best.json")["path"])
    elif (folder / "backbone" / "config.json").is_file():
        folder = folder / "backbone"
    if not (folder / "config.json").is_file():
        raise ValueError(f"--init {told} has no config.json; give a folder that timm or a run exported, or the file of weights itself")
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ValueError(f"--init {told} has a config.json and none of {', '.join(_WEIGHTS)}; put the weights beside it")
    # a run has them beside the folder of the backbone, an export in it
    places = [folder, folder.parent] if folder.name == "backbone" else [folder]
    heads = next((place / "heads.safetensors" for place in places if (place / "heads.safetensors").is_file()), None)
    return _described(told, folder / "config.json", weights, heads=heads)


def _described(told: str, config_file: Path, weights: Path, *, heads: Path | None = None) -> InitSource:
    """Weights whose config.json is timm's."""
    try:
        config = read_json(config_file)
        architecture = config["architecture"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        kind = config.get("model_type") if isinstance(error, KeyError) and isinstance(config, dict) else None
        what = f"is of transformers ({kind})" if kind else "names no architecture of timm"
        raise ValueError(
            f"config.json of --init {told} {what}; give timm's export of the model, or its publisher's file of weights"
        ) from None
    args = config.get("model_args", {})
    unknown = sorted(name for name in args if name not in _KEPT_ARGS + _FREE_ARGS)
    if unknown:
        raise ValueError(
            f"config.json of --init {told} builds its model with {', '.join(unknown)}, which a run cannot keep; "
            "export the model under a timm name that has them"
        )
    published = config.get("pretrained_cfg", config)
    return InitSource(
        told=told,
        weights=weights,
        heads=heads,
        architecture=architecture,
        model_args={name: args[name] for name in _KEPT_ARGS if args.get(name) is not None},
        mean=_three(published.get("mean")),
        std=_three(published.get("std")),
    )


def _three(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


def _of_hub(told: str, repository: str, *, hub: _Hub) -> InitSource:
    config_file = _hub_file(told, repository, ("config.json",), hub=hub)
    return _described(told, config_file, _hub_file(told, repository, _WEIGHTS, hub=hub))


def _of_timm(told: str, *, hub: _Hub) -> InitSource:
    import timm

    architecture = told.partition(".")[0]
    if not timm.is_model(architecture):
        near = timm.list_pretrained(f"*{architecture}*")[:3] if architecture else []
        raise ValueError(
            f"--init {told} is no file or folder here, no run of this lake and no timm model"
            f"{'; timm has ' + ', '.join(near) if near else '; check the path'}"
        )
    published = timm.get_pretrained_cfg(told)
    if published is None or not published.hf_hub_id:
        with_weights = timm.list_pretrained(f"{architecture}*")[:3]
        raise ValueError(
            f"timm has no weights of {told} on the Hugging Face hub; download them and give --init the file"
            f"{', or take one of ' + ', '.join(with_weights) if with_weights else ''}"
        )
    names = (published.hf_hub_filename,) if published.hf_hub_filename else _WEIGHTS
    return InitSource(
        told=told,
        weights=_hub_file(told, published.hf_hub_id, names, hub=hub),
        architecture=architecture,
        mean=_three(published.mean),
        std=_three(published.std),
    )


def _hub_file(told: str, repository: str, names: tuple[str, ...], *, hub: _Hub) -> Path:
    """The first of some files that a repository of the hub has; from this machine's cache alone unless a download is allowed."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name, _, revision = repository.partition("@")
    for file in names:
        try:
            return Path(
                hf_hub_download(name, file, revision=revision or None, cache_dir=hub.cache, local_files_only=not hub.allow_download)
            )
        except LocalEntryNotFoundError as error:
            if hub.allow_download:
                raise ValueError(f"the Hugging Face hub could not be reached for --init {told} ({error}); try again later") from error
        except EntryNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise ValueError(f"the Hugging Face hub gave nothing for --init {told} ({error}); check the name") from error
    if hub.allow_download:
        raise ValueError(f"{name} on the Hugging Face hub has none of {', '.join(names)}; download its weights and give --init the file")
    raise ValueError(f"the weights of --init {told} are not on this machine; add --allow-download, or give a file or folder")

"""Which backbone a person means: of the lake, a folder, a publisher's file of weights, an encoder or a name of timm's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from curation.embedding import EmbedConfig, export_encoder, find_encoder, installed_encoders, load_encoder, local_folder
from evaluation.backbone import ModelRef, VectorNetwork, own_image_size
from flows.runners import say
from flows.stages.model_names import backbone_folder, no_backbone, unknown_model
from flows.stages.video_network import video_model
from pretrain.init_source import find_init
from pretrain.published_backbone import export_published
from pretrain.video.export import is_video_backbone, read_video_info
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake, LakeError
from warehouse.model_facts import find_checkpoint
from warehouse.records import Artifact
from warehouse.store import content_id, file_sha256

__all__ = ["encoder_model", "own_side", "scored_model"]


def scored_model(lake: Lake, told: str, *, allow_download: bool = False) -> tuple[ModelRef, Artifact]:
    """The backbone with a name, and what a score of it depends on.

    Args:
        lake: whose runs and checkpoints have ids; what has to be converted is kept in it.
        told: a run's id (its chosen checkpoint), a checkpoint's id or a unique start of it, the folder of a run, a checkpoint or a
            backbone, a file of weights as DINOv2, DINOv3, GastroNet or timm publish them, an encoder, or a name of timm's.
        allow_download: let names be fetched from the Hugging Face hub.

    Raises:
        LakeError: nothing has that name.
        ValueError: the weights cannot be read, or are not on this machine.
    """
    path = Path(told).expanduser()
    if path.is_dir():
        folder = backbone_folder(path)
        if folder is None:
            raise no_backbone(told)
        return _of_folder(folder, label=path.name)
    if path.is_file():
        return _of_file(lake, told, path)
    try:
        found = find_checkpoint(lake, told)
    except LakeError as error:
        return _of_name(lake, told, allow_download=allow_download, unknown=error)
    label, folder = f"{found.run_id} step {found.step}", lake.root / found.path
    if is_video_backbone(folder):
        return video_model(folder, model_id=found.checkpoint_id, label=label), artifact_of(found)
    return ModelRef(model_id=found.checkpoint_id, label=label, path=str(folder)), artifact_of(found)


def own_side(model: ModelRef) -> int:
    """Side in pixels of the images that a model's weights were saved for; no weights are read.

    Raises:
        BackboneError: its config.json is missing or damaged.
    """
    return own_image_size(model) if model.clip_network is None else read_video_info(Path(model.path)).sizes.image_size


def encoder_model(lake: Lake, encoder: EmbedConfig) -> ModelRef:
    """An encoder as a backbone: exported into the lake, or as its network where timm cannot build it."""
    if encoder.encoder in installed_encoders() and not find_encoder(encoder.encoder, encoder.image_size, allow_download=False).is_timm:
        encoder_id = load_encoder(replace(encoder, device="cpu")).encoder_id
        return ModelRef(model_id=encoder_id, label=encoder.encoder, path="", network=partial(_network, encoder))
    folder = lake.root / "encoders" / content_id(encoder.encoder)[:16]
    encoder_id = export_encoder(encoder, folder)
    local = local_folder(encoder.encoder)
    return ModelRef(model_id=encoder_id, label=local.name if local else encoder.encoder, path=str(folder))


def _of_folder(folder: Path, *, label: str) -> tuple[ModelRef, Artifact]:
    digest = file_sha256(folder / "model.safetensors")
    artifact = Artifact(artifact_id=digest, kind="checkpoint", uri=folder.absolute().as_uri(), sha256=digest)
    if is_video_backbone(folder):
        return video_model(folder, model_id=digest, label=label), artifact
    return ModelRef(model_id=digest, label=label, path=str(folder.absolute())), artifact


def _of_file(lake: Lake, told: str, path: Path) -> tuple[ModelRef, Artifact]:
    if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        return _of_folder(path.parent, label=path.parent.name)
    digest = file_sha256(path)
    folder = lake.root / "encoders" / digest[:16]
    if not (folder / "model.safetensors").is_file():
        say(f"evaluate: {_converted(told, folder)}")
    artifact = Artifact(artifact_id=digest, kind="checkpoint", uri=path.absolute().as_uri(), sha256=digest)
    return ModelRef(model_id=digest, label=path.stem, path=str(folder)), artifact


def _of_name(lake: Lake, told: str, *, allow_download: bool, unknown: LakeError) -> tuple[ModelRef, Artifact]:
    try:
        model = encoder_model(lake, EmbedConfig(encoder=told, allow_download=allow_download))
    except ValueError as error:
        raise unknown_model(told, error, unknown) from error
    return model, Artifact(artifact_id=model.model_id, kind="encoder", uri=told, sha256=None)


def _converted(told: str, folder: Path) -> str:
    """Write a publisher's file; sentences of pretraining say `--init` for weights to start from, which are weights to score here."""
    try:
        return export_published(find_init(told), folder).replace("--init", "--model")
    except ValueError as error:
        raise ValueError(str(error).replace("--init", "--model")) from error


def _network(encoder: EmbedConfig, device: str) -> VectorNetwork:
    loaded = load_encoder(replace(encoder, device=device))
    seen = loaded.preprocessing
    return VectorNetwork(module=loaded.module, image_size=seen.image_size, mean=seen.mean, std=seen.std, interpolation=seen.interpolation)

"""What is done with a checkpoint that is there: writing it for other tools, with a card. Nothing reaches a network."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
from safetensors import safe_open
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from curation.embedding import OFFLINE_ENCODER, installed_encoders
from evaluation.backbone import Backbone, ModelRef, load_backbone
from evaluation.tasks import KNOWN_TASKS, TASKS
from flows.job import Job
from flows.runners import say
from flows.stages.export_video_model import Described, Files, copied_heads, video_parts
from flows.stages.model_names import backbone_folder
from pretrain.closest_recipe import closest_recipe
from pretrain.onnx_file import write_onnx
from pretrain.reference_layout import reference_arguments, write_reference
from pretrain.video.export import is_video_backbone
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import by_person, completed_run_id, plan_run
from warehouse.model_card import CardModel, check_licence, model_card
from warehouse.model_facts import ModelFacts, find_checkpoint, model_facts
from warehouse.plug_ins import names
from warehouse.records import Artifact
from warehouse.store import file_sha256, write_json

__all__ = ["EXPORT_MODEL_VERSION", "ModelFormat", "run_export_model"]

ModelFormat = Literal["timm", "dinov2", "onnx"]

EXPORT_MODEL_VERSION = 1

_SUMS = "SHA256SUMS"
_LARGE = ("*.safetensors", "*.onnx", "*.pth")
"""files that a hub keeps in its store for large ones"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A checkpoint on disk."""

    checkpoint_id: str
    backbone: Path
    artifact: Artifact

    @property
    def heads(self) -> Path | None:
        """Heads and mask token, which lie beside the backbone that a run of EndoForge exported."""
        path = self.backbone.parent / "heads.safetensors"
        return path if path.is_file() else None

    def mask_token(self) -> Tensor | None:
        """(1, dim), or None without heads."""
        if self.heads is None:
            return None
        with safe_open(self.heads, framework="pt") as file:
            token: Tensor = file.get_tensor("mask_token")
        return token


def run_export_model(
    job: Job,
    checkpoint: str,
    *,
    formats: Sequence[ModelFormat],
    out: Path,
    licence: str = "",
    title: str = "",
    image_size: int | None = None,
) -> Path:
    """Write a checkpoint to a new folder in one or several formats, with its card, and record it.

    Args:
        job: the lake that knows the checkpoint; of one from elsewhere the card says little.
        checkpoint: a run's id (its chosen checkpoint), a checkpoint's id or its first digits, or the folder of a run (its best so far), a
            checkpoint or a backbone.
        formats: timm: what `timm.create_model("local-dir:...")` and hubs read; dinov2: for the reference's code; onnx: for ONNX Runtime.
        out: the folder.
        licence: id of the weights' licence; none is granted without one.
        title: of the card; made of dataset and architecture if not given.
        image_size: side in pixels of the ONNX file's input; the checkpoint's own if not given.

    Raises:
        LakeError: there is no such checkpoint.
        BackboneError: its files are damaged.
        LayoutError, OnnxError: a format cannot hold it.
        ValueError: `out` is there already, the licence is no id, or formats and image size do not go together.
    """
    check_licence(licence)
    if not formats:
        raise ValueError("--format is empty; give timm, dinov2, onnx or several of them")
    if image_size is not None and "onnx" not in formats:
        raise ValueError(f"--image-size is {image_size} without --format onnx, whose file alone has one size; leave it out")
    if out.exists():
        raise ValueError(f"{out} is there already, and an export is never mixed with other files; give a new folder as --out")
    source = _source(job.lake, checkpoint)
    facts = model_facts(job.lake, source.checkpoint_id)
    settings: dict[str, Any] = {
        "path": str(out.absolute()),
        "formats": sorted(formats),
        "licence": licence,
        "title": title,
        "image_size": image_size,
    }
    inputs = [source.artifact, *(artifact_of(score) for score in facts.scores)]
    plan = plan_run(stage="export_model", version=EXPORT_MODEL_VERSION, config=settings, inputs=inputs)
    if completed_run_id(job.lake, plan):  # the folder was deleted since, and every export is recorded
        settings["at"] = datetime.datetime.now(datetime.UTC).isoformat()
        plan = plan_run(stage="export_model", version=EXPORT_MODEL_VERSION, config=settings, inputs=inputs)
    with job.record(by_person(plan)) as run:
        digest = _write(source, facts, formats, out, licence=licence, title=title, image_size=image_size)
        run.output(Artifact(artifact_id=digest, kind="model_export", uri=out.absolute().as_uri(), sha256=digest))
    say(f"export-model: {', '.join(sorted(formats))} in {out}")
    if not licence:
        say("export-model: the card marks the licence as not set; give --license if the weights leave this place")
    return out


def _source(lake: Lake, checkpoint: str) -> _Source:
    given = Path(checkpoint).expanduser()
    folder = backbone_folder(given)
    if folder is not None:
        digest = file_sha256(folder / "model.safetensors")
        uri = folder.absolute().as_uri()
        if folder.absolute().is_relative_to(lake.root.absolute()):
            uri = folder.absolute().relative_to(lake.root.absolute()).as_posix()
        artifact = Artifact(artifact_id=digest, kind="checkpoint", uri=uri, sha256=digest)
        return _Source(checkpoint_id=digest, backbone=folder, artifact=artifact)
    found = find_checkpoint(lake, checkpoint)
    return _Source(checkpoint_id=found.checkpoint_id, backbone=lake.root / found.path, artifact=artifact_of(found))


def _write(
    source: _Source, facts: ModelFacts, formats: Sequence[ModelFormat], out: Path, *, licence: str, title: str, image_size: int | None
) -> str:
    """Fill the folder beside its place and rename it; returns the SHA-256 of its list of hashes."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        if is_video_backbone(source.backbone):
            described, files, usage = video_parts(source.backbone, source.heads, formats, partial)
        else:
            described, files, usage = _image_parts(source, formats, partial, image_size)
        card = _card_model(source, described, facts, title=title, files=files, usage=usage)
        text = model_card(card, facts, licence=licence, public_names=_public_names(facts))
        (partial / "README.md").write_text(text, encoding="utf-8")
        (partial / ".gitattributes").write_text("".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in _LARGE))
        written = sorted(path.name for path in partial.iterdir())
        (partial / _SUMS).write_text("".join(f"{file_sha256(partial / name)}  {name}\n" for name in written))
        digest = file_sha256(partial / _SUMS)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return digest


def _image_parts(
    source: _Source, formats: Sequence[ModelFormat], folder: Path, image_size: int | None
) -> tuple[Described, Files, list[str]]:
    """Write an image backbone in each format; what the card says of it, its files, and lines on how to use them."""
    backbone = load_backbone(_ref(source), device="cpu")
    kind = VisionTransformer if set(formats) - {"timm"} else VisionTransformer | Eva
    if not isinstance(backbone.module, kind):
        raise ValueError(f"{source.backbone} holds a {type(backbone.module).__name__}; give --format timm, which alone can hold it")
    files: Files = []
    usage: list[str] = []
    for made, lines in [_WRITERS[name](source, backbone, folder, image_size) for name in dict.fromkeys(formats)]:
        files += made
        usage += lines
    module = backbone.module
    described = Described(
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        image_size=backbone.image_size,
        patch_size=int(module.patch_embed.feat_ratio()),
        dim=int(module.embed_dim),
        mean=backbone.mean,
        std=backbone.std,
    )
    return described, files, usage


def _ref(source: _Source) -> ModelRef:
    return ModelRef(model_id=source.checkpoint_id, label="export", path=str(source.backbone))


_Made = tuple[Files, list[str]]
"""Files with what they are, and lines for the card on how to use them."""


def _write_timm(source: _Source, backbone: Backbone, folder: Path, _: int | None) -> _Made:
    files = [("model.safetensors", "backbone for timm"), ("config.json", "architecture and preprocessing for timm")]
    for name, _what in files:
        shutil.copyfile(source.backbone / name, folder / name)
    if file_sha256(folder / "model.safetensors") != source.checkpoint_id:
        raise OSError(f"{source.backbone / 'model.safetensors'} changed while it was copied; check this disk and export again")
    files += copied_heads(source.heads, folder)
    code = ["import timm", "", 'backbone = timm.create_model("local-dir:FOLDER", pretrained=True, num_classes=0)']
    return files, ["With timm:", "", "```python", *code, "```", ""]


def _write_dinov2(source: _Source, backbone: Backbone, folder: Path, _: int | None) -> _Made:
    token = source.mask_token()
    write_reference(backbone.module, token, folder / "dinov2_pretrain.pth")
    arguments = reference_arguments(backbone.module)
    write_json(folder / "dinov2.json", arguments)
    words = "the trained one" if token is not None else "zeros, because the checkpoint came without heads"
    files = [
        ("dinov2_pretrain.pth", f"backbone in the layout of facebookresearch/dinov2; its mask token is {words}"),
        ("dinov2.json", "arguments of the reference's DinoVisionTransformer for it"),
    ]
    hub = arguments["function"]
    told = (
        "The arguments are those of its function " + f"`{hub}`, with "
        if hub
        else "The size has no function there: use `DinoVisionTransformer` with "
    )
    return files, [
        "With DINOv2's own code:",
        "",
        "```python",
        'weights = torch.load("dinov2_pretrain.pth", weights_only=True)',
        "model.load_state_dict(weights, strict=True)",
        "```",
        "",
        f"{told}`dinov2.json`.",
        "",
    ]


def _write_onnx(source: _Source, backbone: Backbone, folder: Path, image_size: int | None) -> _Made:
    size = image_size or backbone.image_size
    sized = backbone if size == backbone.image_size else load_backbone(_ref(source), device="cpu", image_size=size)
    if sized.image_size != size:  # the nearest that it takes, which is right for scores
        patch = int(backbone.module.patch_embed.feat_ratio())
        raise ValueError(f"image size {size} is not a multiple of the patch size {patch}; give one that is, such as {sized.image_size}")
    metadata = {
        "endoforge_checkpoint": source.checkpoint_id,
        "input": "RGB, values 0 to 1, minus mean, divided by std; the file does not normalise",
        "mean": json.dumps(backbone.mean),
        "std": json.dumps(backbone.std),
        "image_size": str(size),
        "interpolation": backbone.interpolation,
        "outputs": "features (batch, dim) and patch_tokens (batch, patches, dim), after the final norm",
    }
    difference = write_onnx(sized.module, folder / "model.onnx", image_size=size, metadata=metadata)
    say(f"export-model: ONNX Runtime gives PyTorch's features to {difference:.1e}")
    what = f"features and patch tokens of batches of {size} x {size} pixels; ONNX Runtime gives PyTorch's to {difference:.0e}"
    code = ["import onnxruntime", "", 'session = onnxruntime.InferenceSession("model.onnx")']
    code += ['features, patch_tokens = session.run(None, {"image": images})  # (batch, 3, side, side) float32, normalised']
    return [("model.onnx", what)], ["With ONNX Runtime:", "", "```python", *code, "```", ""]


_WRITERS = {"timm": _write_timm, "dinov2": _write_dinov2, "onnx": _write_onnx}


def _card_model(source: _Source, described: Described, facts: ModelFacts, *, title: str, files: Files, usage: list[str]) -> CardModel:
    config: dict[str, Any] = json.loads((source.backbone / "config.json").read_text(encoding="utf-8"))
    recipe, changed = closest_recipe(facts.training.config) if facts.training else (None, ())
    return CardModel(
        title=" ".join(title.split())
        or " ".join(filter(None, ("EndoForge", config["architecture"], facts.data.name if facts.data else ""))),
        architecture=config["architecture"],
        num_parameters=described.num_parameters,
        image_size=described.image_size,
        patch_size=described.patch_size,
        dim=described.dim,
        mean=described.mean,
        std=described.std,
        num_frames=described.num_frames,
        recipe=recipe,
        changed=tuple(changed),
        files=tuple(files),
        usage=tuple(usage),
    )


def _public_names(facts: ModelFacts) -> frozenset[str]:
    """Names of tasks and encoders that came with software, and so name no folder of this place."""
    models = {score.model for score in facts.scores}
    published = {name for name in models if "/" not in name and timm.is_model(name.split(".")[0])}
    return frozenset({*KNOWN_TASKS, *names(TASKS.name), OFFLINE_ENCODER, *installed_encoders(), *published})

"""Stage run: a checkpoint's scores on a task, with random weights and the curation encoder beside it."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from curation.embedding import EmbedConfig, export_encoder, find_encoder, installed_encoders, load_encoder
from evaluation.backbone import ModelRef, VectorNetwork
from evaluation.config import EvaluateConfig
from evaluation.heads import chosen_heads
from evaluation.run import STAGE_VERSION, evaluate_model
from evaluation.tasks import fingerprint, resolve_task
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.encoder_resources import encoder_device, encoder_resources
from flows.stages.pretrain import task_artifact
from warehouse.artifacts import artifact_of
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import best_checkpoint, scores_of
from warehouse.records import Artifact, Score
from warehouse.store import content_id, file_sha256

__all__ = ["run_evaluate"]

HEADLINES = ("balanced_accuracy", "quadratic_weighted_kappa", "dice")
"""metrics that are printed beside the task's own primary one; the lake has them all"""


def run_evaluate(job: Job, *, checkpoint: str, task: str, data: Path, encoder: EmbedConfig, config: EvaluateConfig) -> tuple[Score, ...]:
    """Score a checkpoint and its baselines; everything is chosen on the validation split and reported on the test split.

    Args:
        job: the lake that gets the scores.
        checkpoint: a pretraining run's id, or an exported folder.
        task: a known task, or auto.
        data: the task's folder.
        encoder: the baseline that a checkpoint has to beat to be worth its training.
        config: protocol.

    Raises:
        LakeError: no such run.
        TaskError: no such task, or its data is unusable.
        HeadError: no such head, or it does not serve the task's labels.
    """
    found = resolve_task(task, data, kind=config.kind, val_share=config.val_share, seed=config.seed)
    chosen_heads(config.heads, found.protocol.heads, found.kind)  # before anything is hashed or computed
    identity = fingerprint(found, num_workers=config.num_workers)
    model, artifact = _model(job, checkpoint)
    baseline = _baseline(job, encoder)
    settings = {
        **{name: value for name, value in asdict(config).items() if name not in ("num_workers", "device")},
        "task": found.name,
        "baseline": baseline.model_id,
        **({"protocol": asdict(found.own_protocol)} if found.own_protocol else {}),
    }
    plan = plan_run(
        stage="evaluate", version=STAGE_VERSION, config=settings, inputs=[artifact, task_artifact(found, identity)], seed=config.seed
    )
    if run_id := completed_run_id(job.lake, plan):
        say(f"evaluate: {found.name} is scored already")
        return scores_of(job.lake, run_id)
    random = ModelRef(
        model_id=content_id([model.model_id, "random", config.seed]), label="random weights", path=model.path, weights="random"
    )
    with job.record(plan) as run:
        models = [model, random, baseline]
        if found.kind == "segmentation" and baseline.network is not None:
            models.remove(baseline)
            say(f"evaluate: encoder {baseline.label} gives no patch tokens, so {found.name} has no row of it")
        cache_dir = str(job.lake.root / "staging" / "evaluate")
        resources = replace(encoder_resources(job.runner, config.device), memory_bytes=0)  # a backbone may be of any size
        there = replace(config, device=encoder_device(resources))
        scored = job.runner.map(
            evaluate_model,
            models,
            resources=resources,
            task=found,
            identity=identity,
            config=there,
            cache_dir=cache_dir,
            root=str(job.lake.root.absolute()),
            data=str(data.absolute()),
        )
        by_model = track(successes(scored, stage="evaluate"), description=f"evaluate {found.name}", total=len(models))
        scores = [score for rows in by_model for score in rows]
        run.rows("scores", scores)
        run.output(*map(artifact_of, scores))
    for score in scores:
        if score.metric not in (*HEADLINES, found.protocol.primary) or score.details.get("draw", "mean") != "mean":
            continue
        value = f"{score.metric} {score.value:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"
        say(f"evaluate: {score.task} {score.head}{_shots(score)} {value} {score.model}")
    return tuple(scores)


def _shots(score: Score) -> str:
    return f", {score.details['shots']}," if "shots" in score.details else ""


def _model(job: Job, checkpoint: str) -> tuple[ModelRef, Artifact]:
    folder = Path(checkpoint)
    if (folder / "model.safetensors").is_file():
        digest = file_sha256(folder / "model.safetensors")
        artifact = Artifact(artifact_id=digest, kind="checkpoint", uri=folder.absolute().as_uri(), sha256=digest)
        return ModelRef(model_id=digest, label=folder.name, path=str(folder.absolute())), artifact
    best = best_checkpoint(job.lake, checkpoint)
    model = ModelRef(model_id=best.checkpoint_id, label=f"{best.run_id} step {best.step}", path=str(job.lake.root / best.path))
    return model, artifact_of(best)


def _baseline(job: Job, encoder: EmbedConfig) -> ModelRef:
    if encoder.encoder in installed_encoders() and not find_encoder(encoder.encoder, encoder.image_size, allow_download=False).is_timm:
        encoder_id = load_encoder(replace(encoder, device="cpu")).encoder_id
        return ModelRef(model_id=encoder_id, label=encoder.encoder, path="", network=partial(_network, encoder))
    folder = job.lake.root / "encoders" / content_id(encoder.encoder)[:16]
    encoder_id = export_encoder(encoder, folder)
    return ModelRef(model_id=encoder_id, label=encoder.encoder, path=str(folder))


def _network(encoder: EmbedConfig, device: str) -> VectorNetwork:
    loaded = load_encoder(replace(encoder, device=device))
    seen = loaded.preprocessing
    return VectorNetwork(module=loaded.module, image_size=seen.image_size, mean=seen.mean, std=seen.std, interpolation=seen.interpolation)

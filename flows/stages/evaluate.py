"""Stage run: a checkpoint's scores on a task, with random weights and the curation encoder beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from curation.embedding import EmbedConfig
from evaluation.against_reference import Rival, constant_rivals, rivals_of, shown_difference, with_differences
from evaluation.backbone import ModelRef, config_id
from evaluation.config import EvaluateConfig
from evaluation.heads import changes_backbone, chosen_heads
from evaluation.random_draws import mean_of_draws
from evaluation.references import picture_blind
from evaluation.report import frames_words, size_words
from evaluation.run import STAGE_VERSION, evaluate_model, reference_scores
from evaluation.tasks import Fingerprint, SplitStore, TaskData, configured_task, readable_task
from evaluation.tuned_backbone import is_tuned_on
from evaluation.video.clip_contents import readable_clips
from evaluation.video.clip_features import DEFAULT_FRAMES
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.clip_reading import CLIP_SOURCE
from flows.stages.encoder_resources import encoder_device, encoder_resources
from flows.stages.evaluate_checks import OF_MAPS, check_asked
from flows.stages.leaks import pretraining_overlap, split_leaks
from flows.stages.pretrain import split_artifacts, task_artifact
from flows.stages.scored_models import encoder_model, own_side, scored_model
from pretrain.video.export import read_video_info
from warehouse.artifacts import artifact_of
from warehouse.forgotten import lake_key
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import chosen_on, scores_of
from warehouse.records import Score
from warehouse.store import content_id

__all__ = ["run_evaluate", "shown_value"]

HEADLINES = ("balanced_accuracy", "quadratic_weighted_kappa", "dice")
"""metrics that are printed beside the task's own primary one; the lake has them all"""

_BOX_LINES = ("ap", "f1_iou50", "presence_f1", "lesion_recall", "false_positives_per_minute", "false_positives_per_image")


def run_evaluate(job: Job, *, checkpoint: str, task: str, data: Path, encoder: EmbedConfig, config: EvaluateConfig) -> tuple[Score, ...]:
    """Score a checkpoint and its baselines; everything is chosen on the validation split and reported on the test split.

    Args:
        job: the lake that gets the scores.
        checkpoint: a run, checkpoint, folder, file of weights, encoder or name; see `scored_model`.
        task: a known task, or auto.
        data: the task's folder.
        encoder: the baseline that a checkpoint has to beat to be worth its training.
        config: protocol; without an image size all see images at the model's own.

    Raises:
        LakeError, ValueError: no such model.
        TaskError: no such task, or its data is unusable.
        HeadError: no such head, or it does not serve the task's labels.
    """
    if config.fold == "all":
        raise ValueError("fold is all; give one fold here, or call evaluate_folds")
    stored = SplitStore(folder=job.lake.root / "splits", data=data.absolute(), key=lake_key(job.lake.root))
    read = configured_task(task, data, config, fold=config.fold, stored=stored)
    heads = chosen_heads(config.heads, read.protocol.heads, read.kind)  # before anything is hashed or computed
    model, artifact = scored_model(job.lake, checkpoint, allow_download=encoder.allow_download)
    check_asked(heads, read, model, config, told=checkpoint)
    config = config if config.image_size is not None else replace(config, image_size=own_side(model))
    found, identity = _readable(read, model, config)
    for image in found.unreadable:
        say(f"evaluate: {found.name} leaves out an unreadable {'clip' if found.has_clips else 'image'}: {image}")
    if config.clip_frames and model.clip_network is None and not found.has_clips:
        say(f"evaluate: {model.label} is an image network and sees each frame of {found.name} alone; clip_frames is of video networks")
    baseline = encoder_model(job.lake, encoder)
    if (config.fold is not None or config.protocol != "clean") and chosen_on(job.lake, model.model_id, found.name):
        say(f"evaluate: the checkpoint was chosen on a validation split of {found.name}, whose images this fold may test: it flatters")
    settings = {
        **{name: value for name, value in config.identity(has_clips=found.has_clips).items() if name not in ("num_workers", "device")},
        "task": found.name,
        "baseline": baseline.model_id,
        "backbone_config": config_id(model),
        **({"own_protocol": asdict(found.own_protocol)} if found.own_protocol else {}),
    }
    plan = plan_run(
        stage="evaluate", version=STAGE_VERSION, config=settings, inputs=[artifact, task_artifact(found, identity)], seed=config.seed
    )
    if run_id := completed_run_id(job.lake, plan):
        fold = "" if config.fold is None else f" fold {config.fold}"
        say(f"evaluate: {found.name}{fold} is scored already")
        return scores_of(job.lake, run_id)
    draws = _random_draws(model, config, is_detection=found.kind == "detection")
    leak = split_leaks(job.lake, found, identity, config)
    learned = {model.model_id: pretraining_overlap(job.lake, model.model_id, found, identity, data, config)}
    with job.record(plan) as run:
        beside = [baseline] if baseline.model_id != model.model_id else []
        if found.kind in OF_MAPS and beside and baseline.network is not None:
            beside = []
            say(f"evaluate: encoder {baseline.label} gives no patch tokens, so {found.name} has no row of it")
        elif beside and not is_tuned_on(baseline) and (tuned := [name for name in heads if changes_backbone(name)]):
            say(f"evaluate: encoder {baseline.label} is a network of a package and cannot be trained here, so {tuned[0]} has no row of it")
        models = [*beside, model, *draws]  # the encoder, most often the largest, first: else the last worker waits for it
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
            leak=leak,
            pretraining=learned,
            clips=CLIP_SOURCE if found.has_clips else None,
        )
        rows = track(successes(scored, stage="evaluate"), description=f"evaluate {found.name}", total=len(models))
        by_model = {each[0].model_id: each for each in rows if each}
        guess = None if found.kind == "detection" else picture_blind(found, data)  # its guess has no rows a person could compare
        constant = reference_scores(found, identity=identity, config=config, leak=leak, guess=guess)
        drawn = [by_model.get(each.model_id, ()) for each in draws]
        of_baseline = by_model.get(baseline.model_id, ()) if beside else ()
        rivals = [
            *(constant_rivals(constant, guess.predictions) if guess is not None else ()),
            *(rival for each, found_rows in zip(draws, drawn, strict=True) for rival in _rivals(job, each, found_rows)),
            *_rivals(job, baseline, of_baseline),
        ]
        own = with_differences(by_model.get(model.model_id, ()), rivals, job.lake.root, classes=found.classes)
        scores = [*own, *mean_of_draws(drawn), *of_baseline, *constant]
        run.rows("scores", scores)
        run.output(*map(artifact_of, scores), *split_artifacts(stored, job.lake.root))
    for score in scores:
        if score.metric not in (*HEADLINES, *_BOX_LINES, found.protocol.primary) or score.details.get("draw", "mean") != "mean":
            continue
        say(f"evaluate: {_line(score)}")
    for name in ("splits", "warnings"):
        if said := scores[0].details.get(name):
            say(f"evaluate: {found.name}: {said}")
    return tuple(scores)


def _random_draws(model: ModelRef, config: EvaluateConfig, *, is_detection: bool) -> list[ModelRef]:
    """The model's architecture with random weights, as often as asked for; none for a network that timm cannot build."""
    if model.network is not None:
        return []
    num_draws = 1 if is_detection else config.random_draws  # each trains a detector
    identity = [model.model_id, "random", config.seed]
    ids = [content_id([*identity, draw] if draw else identity) for draw in range(num_draws)]
    told: dict[str, Any] = {"label": "random weights", "path": model.path, "clip_network": model.clip_network}
    return [ModelRef(model_id=each, weights="random", draw=draw, **told) for draw, each in enumerate(ids)]


def _rivals(job: Job, model: ModelRef, scores: Sequence[Score]) -> list[Rival]:
    label = f"{model.label}, draw {model.draw + 1}" if model.weights == "random" else model.label
    return rivals_of(scores, job.lake.root, label=label)


def _readable(read: TaskData, model: ModelRef, config: EvaluateConfig) -> tuple[TaskData, Fingerprint]:
    """The set without what cannot be read, and the hashes of its files."""
    told: dict[str, Any] = {"max_unreadable": config.max_unreadable, "num_workers": config.num_workers}
    if read.has_clips:
        own_frames = DEFAULT_FRAMES if model.clip_network is None else read_video_info(Path(model.path)).sizes.num_frames
        told |= {"num_frames": config.clip_frames or own_frames, "num_windows": config.windows_of(read.clip_windows)}
        return readable_clips(read, CLIP_SOURCE, **told)
    return readable_task(read, **told)


def _line(score: Score) -> str:
    shots = f", {score.details['shots']}," if "shots" in score.details else ""
    how = "" if (changed := score.details.get("backbone", "frozen")) == "frozen" else f", backbone {changed}"
    difference = f", {told}" if (told := shown_difference(score)) else ""
    return f"{score.task} {score.head}{shots} {score.metric} {shown_value(score)} {score.model}{how}{difference}, {_verdict(score)}"


def shown_value(score: Score) -> str:
    """The value with its interval, or why there is none."""
    if score.ci_low != score.ci_low:
        return f"{score.value:.3f} ({score.details.get('interval', 'no interval')})"
    return f"{score.value:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"


def _verdict(score: Score) -> str:
    """What a reader has to know before believing the number, in a few words."""
    details = score.details
    if "reference" in details:
        return details["reference"]
    said = f"splits {details.get('leak', 'unknown')}, patients {details.get('patients', 'unknown')}"
    seen = f"{size_words(score) or '?'} px" + (f", {frames}" if (frames := frames_words(score)) else "")
    return f"{said}, pretraining {details.get('leak_pretraining', 'unknown')}, {seen}"

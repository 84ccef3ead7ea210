"""What each command that works does; heavy imports wait until a command needs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from flows.cli import commands
from flows.cli.job import asked, job_of
from flows.config import RunConfig

__all__ = ["ACTIONS"]

OF_SCHEDULES = ("alerts", "upkeep", "summary", "metrics_file")
"""Settings of scheduled flows alone: what comes of a command is written by the command line."""


def _demo(command: commands.Demo) -> None:
    _prefect_in(command.out / "lake")
    from flows.demo import run_demo

    execution = command.execution
    told: dict[str, Any] = {"phantom": command.phantom, "size": command.size, "recipe": command.recipe}
    report = run_demo(command.out, **told, runner=execution.runner, workers=execution.workers)
    from warehouse.lake import open_lake
    from warehouse.queries import latest_pretraining

    lake = command.out / "lake"
    with open_lake(lake, read_only=True) as opened:
        run_id = latest_pretraining(opened)
    _say_end(lake, run_id, report)
    print(report)


def _run(command: commands.Run) -> None:
    if command.plan:
        _plan(command)
        return
    _prefect_in(command.lake)
    from flows.pipeline import run_flow

    told = {setting.name: getattr(command, setting.name) for setting in fields(RunConfig) if setting.name not in OF_SCHEDULES}
    report = Path(run_flow(**told))
    _say_end(command.lake, report.parent.name, report)
    print(report)


def _say_end(lake: Path, run_id: str, report: Path) -> None:
    """On stderr, as all that is said on the way; the report's path stands alone on stdout."""
    from flows.runners import say
    from flows.stages import run_in_words
    from warehouse.lake import open_lake

    with open_lake(lake, read_only=True) as opened:
        for line in run_in_words(opened, run_id, report):
            say(line)


def _plan(command: commands.Run | commands.Plan) -> None:
    from flows.planning.machines import described_machine, this_machine
    from flows.planning.run_plan import plan_run, plan_run_json, plan_run_text

    machines = [this_machine(command.workers)]
    within_s = commands.PROBE_S
    if isinstance(command, commands.Plan):
        within_s = command.within_s
        other = described_machine(command.cores, command.gpus)
        machines += [other] if other else []
    plan = plan_run(command, machines, within_s=within_s)
    print(plan_run_json(plan) if isinstance(command, commands.Plan) and command.json else plan_run_text(plan))


def _prefect_in(lake: Path) -> None:
    """A run without a Prefect server of yours keeps what Prefect writes inside the lake; Prefect reads this when it is imported."""
    if "PREFECT_API_URL" not in os.environ:
        home = Path(os.environ.setdefault("PREFECT_HOME", str(lake.absolute() / ".prefect")))
        home.mkdir(parents=True, exist_ok=True)
        # flows use no blocks, and writing down their types takes 7 of the 26 s in which a new lake's first flow starts
        os.environ.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "false")


def _ingest(command: commands.Ingest) -> None:
    from flows.stages import NothingIngestedError, run_ingest

    with job_of(command, create=True) as job:
        why_nothing = run_ingest(job, command.videos, config=command.config).why_nothing
        if why_nothing is not None:
            raise NothingIngestedError(why_nothing)


def _requalify(command: commands.Requalify) -> None:
    from flows.stages import run_requalify

    with job_of(command) as job:
        run_requalify(job, config=command.config)


def _embed(command: commands.Embed) -> None:
    with job_of(command) as job:
        from flows.stages import run_embed

        run_embed(job, config=command.config)


def _curate(command: commands.Curate) -> None:
    with job_of(command, read_only=command.plan) as job:
        if command.plan:
            from flows.planning.plan import plan_curate

            print(plan_curate(job, name=command.name, encoder=command.encoder, config=command.config))
        else:
            from flows.stages import run_curate
            from warehouse.queries import encoder_named

            run_curate(job, name=command.name, encoder_id=encoder_named(job.lake, command.encoder), config=command.config)


def _dedup(command: commands.Dedup) -> None:
    from flows.stages import run_dedup_alone, run_dedup_preview
    from warehouse.queries import encoder_named

    with job_of(command) as job:
        encoder_id = encoder_named(job.lake, command.encoder)
        if command.preview:
            said = run_dedup_preview(
                job,
                encoder_id=encoder_id,
                config=command.config,
                thresholds=command.thresholds,
                num_pairs=command.pairs,
                out=command.out,
                seed=command.seed,
            )
        else:
            said = run_dedup_alone(job, encoder_id=encoder_id, config=command.config, seed=command.seed)
        print(said)


def _select_for_labels(command: commands.SelectForLabels) -> None:
    from flows.stages import LabelRequest, run_select_for_labels
    from warehouse.queries import encoder_named

    request = LabelRequest(size=command.size, given=command.given, classes=command.classes, max_per_patient=command.max_per_patient)
    config = RunConfig(lake=command.lake, holdout=command.holdout, dedup=command.dedup, cluster=command.cluster, seed=command.seed)
    with job_of(command) as job:
        encoder_id = encoder_named(job.lake, command.encoder)
        print(run_select_for_labels(job, encoder_id=encoder_id, config=config, request=request, out=command.out))


def _privacy_audit(command: commands.PrivacyAudit) -> None:
    from flows.stages import PrivateOutcome, run_audit, run_private_audit, run_private_sign_off, run_purge_private, run_sign_off

    reviewer = command.reviewer.strip()
    with job_of(command) as job:
        if command.purge_private:
            run_purge_private(job, older_than_days=command.older_than_days)
        elif command.private and command.sign_off is None:
            drawn = run_private_audit(job, size=command.config.sample, seed=command.config.seed)
            if drawn is not None:
                print(drawn.audit_id)
        elif command.private and command.sign_off is not None:
            outcome = PrivateOutcome(
                reviewer=reviewer,
                lift=command.lift,
                restore=command.restore,
                whole_video=command.whole_video,
                keep_private=command.keep_private,
                note=command.note,
            )
            run_private_sign_off(job, command.sign_off, outcome)
        elif command.sign_off is None:
            print(run_audit(job, config=command.config, dataset=command.dataset).audit_id)
        else:
            told: dict[str, Any] = {"found": command.found, "note": command.note, "remove_videos": command.remove_videos}
            run_sign_off(job, command.sign_off, reviewer=reviewer, **told)


def _remove_out_of_body(command: commands.RemoveOutOfBody) -> None:
    with job_of(command) as job:
        from curation.embedding import EmbedConfig
        from flows.stages import run_remove_out_of_body

        encoder = EmbedConfig(encoder=command.encoder, allow_download=command.allow_download)
        run_remove_out_of_body(job, labels=command.labels, encoder=encoder, config=command.config, dry_run=command.dry_run)


def _pretrain(command: commands.Pretrain) -> None:
    if command.plan:
        from flows.planning.pretrain_plan import plan_pretrain_text

        planned: dict[str, Any] = {"recipe": command.recipe, "gpu": command.plan_gpu, "num_gpus": command.train_workers}
        print(plan_pretrain_text(command.lake, command.config, **planned))
        return
    if command.replay_nan:
        from flows.stages import run_replay

        with asked(command) as lake:
            print(run_replay(lake, command.replay_nan))
        return
    if command.resume:
        _resume(command, command.resume)
        return
    if command.set:
        raise ValueError("--set is given without --resume; give settings as options such as --optim.base-lr, or name a run with --resume")
    with job_of(command) as job:
        from warehouse.dataset_queries import dataset_named

        dataset_named(job.lake, command.dataset)  # before torch is loaded
        from flows.stages import run_pretrain
        from pretrain.init_source import find_init

        init = find_init(command.init, lake_root=command.lake, allow_download=command.allow_download) if command.init else None
        told: dict[str, Any] = {"dataset": command.dataset, "config": command.config, "num_workers": command.train_workers}
        told["min_workers"] = command.min_train_workers
        print(run_pretrain(job, **told, validation=command.labelled, init=init).run_id)


def _resume(command: commands.Pretrain, run_id: str) -> None:
    with job_of(command) as job:
        from flows.stages import run_resume

        workers: dict[str, Any] = {"num_workers": command.train_workers, "min_workers": command.min_train_workers}
        best = run_resume(job, run_id=run_id, changes=command.set, validation=command.labelled, **workers)
        print(best.run_id)


def _evaluate(command: commands.Evaluate) -> int | None:
    if command.replay:
        return _replay_score(command, command.replay)
    with job_of(command, create=command.lake == commands.SCORES) as job:
        from curation.embedding import EmbedConfig
        from evaluation.report import render_scorecard
        from flows.stages import evaluate_models

        encoder = EmbedConfig(encoder=command.encoder, allow_download=command.allow_download)
        scores = evaluate_models(job, models=command.model, pairs=command.pairs, encoder=encoder, config=command.config)
        page = command.page or command.lake / "scorecard.html"
        render_scorecard(scores, root=job.lake.root, path=page)
        print(page)
    return None


def _replay_score(command: commands.Evaluate, score_id: str) -> int:
    from flows.stages import run_replay_score

    with asked(command) as lake:
        return 0 if run_replay_score(lake, score_id, data=command.data[0] if command.data else None, device=command.config.device) else 1


def _predict(command: commands.Predict) -> None:
    with job_of(command) as job:
        from flows.stages import run_predict

        print(run_predict(job, head=command.head, inputs=command.inputs, out=command.out, config=command.config))


def _export_model(command: commands.ExportModel) -> None:
    with job_of(command) as job:
        from flows.stages import run_export_model

        run_export_model(
            job,
            command.checkpoint,
            formats=command.format,
            out=command.out,
            licence=command.license,
            title=command.title,
            image_size=command.image_size,
        )


ACTIONS: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "demo": (commands.Demo, _demo),
    "plan": (commands.Plan, _plan),
    "run": (commands.Run, _run),
    "ingest": (commands.Ingest, _ingest),
    "requalify": (commands.Requalify, _requalify),
    "embed": (commands.Embed, _embed),
    "curate": (commands.Curate, _curate),
    "dedup": (commands.Dedup, _dedup),
    "select-for-labels": (commands.SelectForLabels, _select_for_labels),
    "privacy-audit": (commands.PrivacyAudit, _privacy_audit),
    "remove-out-of-body": (commands.RemoveOutOfBody, _remove_out_of_body),
    "pretrain": (commands.Pretrain, _pretrain),
    "evaluate": (commands.Evaluate, _evaluate),
    "predict": (commands.Predict, _predict),
    "export-model": (commands.ExportModel, _export_model),
}

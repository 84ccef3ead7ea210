"""The order of the stages: one table, from which `curate`, `curate --plan`, `run` and the scheduled flows are driven.

Every stage is called in one way: it gets the job, all settings, and what the stages before it made, and adds what it made itself.
Importing this file loads no stage; each is loaded when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation import filters, ingest
from evaluation.config import EvaluateConfig
from evaluation.heads import check_head_names
from flows import stages
from flows.config import RunConfig
from flows.runners import say
from flows.stages import checks, costs
from flows.stages.stage import Made, Stage, needed
from pretrain.accumulation import check_accumulation
from pretrain.recipes import recipe

if TYPE_CHECKING:  # loading these takes a second
    from flows.job import Job
    from pretrain.config import PretrainConfig
    from pretrain.init_source import InitSource
    from warehouse.lake import Lake
    from warehouse.lineage import RunPlan, RunRecorder
    from warehouse.records import Artifact

    Plan = Callable[[Lake, RunConfig, Made], RunPlan]
    Work = Callable[[Job, RunRecorder, Path, RunConfig, Made], Artifact]

__all__ = ["STAGES", "check_stages", "run_stages", "stages_of", "steps"]


def stages_of(*commands: str) -> tuple[Stage, ...]:
    """The stages that these commands do, in their order."""
    return tuple(stage for stage in STAGES if stage.command in commands)


def steps(chosen: Sequence[Stage], config: RunConfig) -> Iterator[tuple[Stage, RunConfig]]:
    """The wanted stages with their settings; those of a dataset come once for each size, the largest first."""
    wanted = [stage for stage in chosen if stage.is_wanted(config)]
    yield from ((stage, config) for stage in wanted if not stage.each_size)
    if sized := [stage for stage in wanted if stage.each_size]:
        for size in (config.curate.size, *sorted(config.nested, reverse=True)):
            of_size = replace(config, size=size, nested=(), name=checks.nested_name(config.name, size, config.curate))
            yield from ((stage, of_size) for stage in sized)


def run_stages(chosen: Sequence[Stage], job: Job, config: RunConfig, made: Made) -> Made:
    """Do what is to be done of some stages; what is recorded already is not done again."""
    for stage, of_size in steps(chosen, config):
        made = stage.run(job, of_size, made)
    return made


def check_stages(chosen: Sequence[Stage], config: RunConfig) -> None:
    """Refuse settings with which one of the stages would fail, before the first video is decoded.

    Raises:
        ValueError: a name, number, task or table is wrong.
        OSError: a file or folder is missing or cannot be used.
    """
    checks.check_count("workers", config.workers)
    if any("recipe" in stage.takes for stage in chosen):
        _training(config)  # what is told in words is checked before what lies on disk
    for stage in chosen:
        stage.check(config)
    if any(stage.name == "similarity" for stage in chosen):
        checks.check_faiss()  # last, because loading it takes longer than everything above


def _ingest(job: Job, config: RunConfig, made: Made) -> Made:
    why_nothing = stages.run_ingest(job, config.videos, config=config.ingest).why_nothing
    if why_nothing is not None:
        from warehouse.queries import has_kept_frames

        if not has_kept_frames(job.lake):
            raise stages.NothingIngestedError(why_nothing)
        say("going on with the frames from before")
    return made


def _check_ingest(config: RunConfig) -> None:
    filters.installed_filters()  # one that cannot be used is named
    checks.check_new_folder(config.lake, "lake")
    checks.check_inputs(config.videos)


def _requalify(job: Job, config: RunConfig, made: Made) -> Made:
    if by_device := ingest.requalify_config(config.devices, config.ingest):
        stages.run_requalify(job, config=by_device)
    return made


def _embed(job: Job, config: RunConfig, made: Made) -> Made:
    return replace(made, encoder_id=stages.run_embed(job, config=config.embed))


def _once(gives: str, plan: Plan, work: Work, *, resumes: bool = False) -> dict[str, Any]:
    """`run` and `find` of a stage that makes one artifact.

    Args:
        gives: the field of `Made` that the artifact becomes.
        plan: names the work; what is committed under that name is not done again.
        work: does it, in a folder of its own.
        resumes: the folder of interrupted work is kept, and the next run goes on from it.
    """

    def run(job: Job, config: RunConfig, made: Made) -> Made:
        def made_by(recorder: RunRecorder, folder: Path) -> Artifact:
            return work(job, recorder, folder, config, made)

        return replace(made, **{gives: job.once(plan(job.lake, config, made), made_by, resumes=resumes)})  # type: ignore[arg-type]

    def find(job: Job, config: RunConfig, made: Made) -> Made | None:
        found = job.done(plan(job.lake, config, made))
        return replace(made, **{gives: found}) if found else None  # type: ignore[arg-type]

    return {"run": run, "find": find}


def _clips(job: Job, config: RunConfig, made: Made) -> Made:
    return stages.run_clips(job, config, made)


def _cluster(job: Job, config: RunConfig, made: Made) -> Made:
    told: dict[str, Any] = {"parts": made.parts, "dedup": needed(made.dedup), "config": config.cluster, "seed": config.seed}
    tree, placement = stages.run_cluster(job, **told, **stages.cluster_pool(job.lake, made))
    return replace(made, tree=tree, placement=placement)


def _find_cluster(job: Job, config: RunConfig, made: Made) -> Made | None:
    found = stages.find_tree(job, encoder_id=made.encoder_id, dedup=needed(made.dedup), config=config.cluster, seed=config.seed)
    return replace(made, tree=found[0], placement=found[1]) if found else None


def _shard(job: Job, config: RunConfig, made: Made) -> Made:
    datasets = (*made.datasets, stages.run_shard(job, config, made))
    return replace(made, datasets=datasets, dataset=datasets[0].name)


def _find_shard(job: Job, config: RunConfig, made: Made) -> Made | None:
    return made if job.done(stages.plan_shard(job.lake, config, made)) else None


def _pretrain(job: Job, config: RunConfig, made: Made) -> Made:
    best = stages.run_pretrain(
        job,
        dataset=made.dataset,
        config=_training(config),
        validation=config.labelled,
        num_workers=config.train_workers,
        min_workers=config.min_train_workers,
        init=_init(config),
    )
    return replace(made, pretraining=best.run_id)


def _check_pretrain(config: RunConfig) -> None:
    training = _training(config)
    batch_size = training.train.batch_size
    checks.check_training(runner=config.runner, train_workers=config.train_workers, batch_size=batch_size, size=config.size)
    checks.check_fewest(config.runner, config.train_workers, config.min_train_workers)
    check_accumulation(training, config.train_workers)
    checks.check_validation(config.labelled, config.validation_task)


def _evaluate(job: Job, config: RunConfig, made: Made) -> Made:
    with job.runner.reuse_workers():
        for number, (task, data) in enumerate(config.evaluation_pairs):
            settings = config.evaluate
            if config.evaluations is None:  # the test split beside what chose the checkpoint
                one = config.labelled.tasks[number]
                settings = replace(settings, order=",".join(one.order), protocol=one.protocol, max_unreadable=one.max_unreadable)
            pairs = [(task, Path(data))]
            stages.evaluate_models(job, models=[made.pretraining], pairs=pairs, encoder=config.embed, config=settings)
    return made


_OF_EACH_FOLDER = {
    "order": "--validation-order",
    "protocol": "--validation-protocol",
    "max_unreadable": "--validation-max-unreadable",
}
"""What each folder of labels has of its own, for the choice of checkpoints and for the scores alike."""


def _check_evaluate(config: RunConfig) -> None:
    checks.check_encoder(config.embed)
    check_head_names(config.evaluate.heads or ())
    usual = EvaluateConfig()
    for name, option in _OF_EACH_FOLDER.items():
        if config.evaluations is None and getattr(config.evaluate, name) != getattr(usual, name):
            told = getattr(config.evaluate, name)
            raise ValueError(f"got {told!r} for {name} of evaluate, which each folder of labels has of its own; give {option} instead")
    for task, data in config.evaluations or ():
        checks.check_task(task, Path(data), config.evaluate)


def _report(job: Job, config: RunConfig, made: Made) -> Made:
    return replace(made, report=stages.run_report(job, run_id=made.pretraining, out=None))


def _training(config: RunConfig) -> PretrainConfig:
    if not config.pretrain and not config.init:
        return recipe(config.recipe or "")  # without pydantic, which takes as long as all other checks
    from flows.parameters import changed_recipe

    return changed_recipe(config.recipe, config.pretrain, _init(config))


def _init(config: RunConfig) -> InitSource | None:
    from pretrain.init_source import find_init

    return find_init(config.init, lake_root=config.lake) if config.init else None


_VALIDATION = ("validation", "validation_task", "validation_order", "validation_protocol", "validation_max_unreadable")

STAGES = (
    Stage(
        name="ingest",
        command="ingest",
        takes=("videos", "ingest"),
        run=_ingest,
        cost=costs.ingest,
        frames="num_frames_kept",
        check=_check_ingest,
    ),
    Stage(name="requalify", command="ingest", takes=("devices", "ingest"), needs=("ingest",), run=_requalify),
    Stage(
        name="embed",
        command="embed",
        takes=("embed",),
        needs=("requalify",),
        run=_embed,
        cost=costs.embed,
        frames="num_frames",
        check=lambda config: checks.check_encoder(config.embed),
    ),
    Stage(
        name="holdout",
        command="curate",
        takes=("holdout", "seed"),
        needs=("embed",),
        **_once("holdout", lambda *of: stages.plan_holdout(*of), lambda *of: stages.run_holdout(*of), resumes=True),
        cost=costs.holdout,
        frames="num_compared",
        is_wanted=lambda config: bool(config.holdout.holdout),
        check=lambda config: checks.check_held_out(config.holdout),
    ),
    Stage(
        name="clips",
        command="curate",
        takes=("clips",),
        needs=("embed", "holdout"),
        run=_clips,
        frames="num_frames_decoded",
        is_wanted=lambda config: config.clips.clips,
    ),
    Stage(
        name="similarity",
        command="curate",
        takes=("dedup", "seed"),
        needs=("embed", "holdout"),
        **_once("scores", lambda *of: stages.plan_similarity(*of), lambda *of: stages.run_similarity(*of)),
        cost=costs.similarity,
        frames="num_frames",
    ),
    Stage(
        name="dedup",
        command="curate",
        takes=("dedup",),
        needs=("similarity",),
        **_once("dedup", lambda *of: stages.plan_dedup(*of), lambda *of: stages.run_dedup(*of)),
        cost=costs.dedup,
        frames="num_frames",
        has_workers=False,
    ),
    Stage(
        name="cluster",
        command="curate",
        takes=("cluster", "seed"),
        needs=("dedup",),
        run=_cluster,
        find=_find_cluster,
        cost=costs.cluster,
        frames="num_frames",
        has_workers=False,
    ),
    Stage(
        name="select",
        command="curate",
        takes=("size", "nested", "sample", "seed"),
        needs=("cluster",),
        **_once("selection", lambda *of: stages.plan_select(*of), lambda *of: stages.run_select(*of)),
        cost=costs.select,
        frames="num_candidates",
        has_workers=False,
        each_size=True,
    ),
    Stage(
        name="shard",
        command="curate",
        takes=("name", "shard", "seed"),
        needs=("select",),
        run=_shard,
        find=_find_shard,
        cost=costs.shard,
        frames="num_images",
        each_size=True,
        check=lambda config: checks.check_dataset_names(config.name, config.curate),
    ),
    Stage(
        name="pretrain",
        command="pretrain",
        takes=("name", "recipe", "pretrain", *_VALIDATION, "validation_weights", "chosen_by", "train_workers", "min_train_workers", "init"),
        needs=("shard",),
        run=_pretrain,
        check=_check_pretrain,
    ),
    Stage(
        name="evaluate",
        command="evaluate",
        takes=(*_VALIDATION, "evaluations", "evaluate", "embed"),
        needs=("pretrain",),
        run=_evaluate,
        is_wanted=lambda config: bool(config.evaluation_pairs),
        check=_check_evaluate,
    ),
    Stage(name="report", command="report", takes=(), needs=("evaluate",), run=_report),
)

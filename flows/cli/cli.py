"""`endoforge`: one verb a stage, one for everything, and the questions one asks afterwards."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import AvoidSubcommands

from curation.filters import filter_sentences
from evaluation.tasks import task_sentence
from flows.cli import commands
from flows.cli.check_command import check_command
from flows.cli.local_paths import refuse_uris
from flows.cli.remedies import INSTALL_REMEDY
from flows.cli.supervise import begin_supervised, is_supervised, run_supervised
from flows.config import RunConfig
from pretrain.recipes import recipe

if TYPE_CHECKING:
    from flows.job import Job
    from pretrain.config import PretrainConfig
    from warehouse.lake import Lake

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 only when it did its work."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(f"endoforge: there is no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if inner := is_supervised():
        begin_supervised()
    debug = "--debug" in rest
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if debug else "CRITICAL")  # its tracebacks are for --debug
    command, run = COMMANDS[name]
    try:
        parsed = tyro.cli(
            command,
            args=rest,
            prog=f"endoforge {name}",
            description=_description(name, command),
            default=_default(name, rest),
            config=(AvoidSubcommands,),
        )
        refuse_uris(parsed)
        if not inner:
            check_command(parsed)
            if name in SUPERVISED and argv is None:
                return run_supervised()
        return run(parsed) or 0
    except KeyboardInterrupt:
        print("endoforge: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `endoforge sql ... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"endoforge: {_sentence(error)}", file=sys.stderr)
        return 1


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).partition("\n\nLINE ")[0].split()) or type(error).__name__  # one line has no place for DuckDB's pointer
    if isinstance(error, OSError) and error.errno == 28:
        return f"the disk is full ({text}); free some space and type the same command again, what is finished is kept"
    if isinstance(error, ModuleNotFoundError):  # an installation for questions alone has neither torch nor a decoder
        return f"{'FAISS' if error.name == 'faiss' else error.name} is not installed; {INSTALL_REMEDY}"
    if isinstance(error, PermissionError):
        return f"{text}; give this user access, or another folder"
    if isinstance(error, ValueError | OSError | RuntimeError):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _description(name: str, command: type) -> str:
    """What a command does; with a sentence on each installed filter if its threshold is an option, and on the tasks if one can be given."""
    said = filter_sentences() if name in ("run", "ingest", "requalify") else []
    said += [task_sentence()] if name in ("run", "pretrain", "evaluate") else []
    return "\n\n".join([command.__doc__ or "", *said])


def _default(name: str, arguments: list[str]) -> Any:
    """The recipe's values are the defaults of pretraining's options, so the recipe has to be known before they are parsed."""
    if name != "pretrain":
        return None
    told, _ = tyro.cli(_Told, args=arguments, return_unknown_args=True, add_help=False)
    missing: Any = tyro.MISSING
    if told.resume or told.replay_nan:
        return commands.Pretrain(lake=missing, dataset="", recipe="", config=recipe("demo"))
    if told.plan:
        return commands.Pretrain(lake=Path(), dataset="", recipe=missing, config=_recipe_for(told))
    return commands.Pretrain(lake=missing, dataset=missing, recipe=missing, config=_recipe_for(told))


def _recipe_for(told: _Told) -> PretrainConfig:
    """The recipe named, as it is for trained weights if it starts from some."""
    if told.init is None:
        return recipe(told.recipe)
    from pretrain.continuation import continued
    from pretrain.init_source import find_init

    source = find_init(told.init, lake_root=told.lake, allow_download=told.allow_download)
    return continued(told.recipe, recipe(told.recipe), source)


@dataclass(frozen=True)
class _Told:
    recipe: str = "demo"
    resume: str | None = None
    init: str | None = None
    allow_download: bool = False
    lake: Path | None = None
    replay_nan: str | None = None
    plan: bool = False


def _overview() -> str:
    lines = [f"  {name:<18} {(command.__doc__ or '').splitlines()[0]}" for name, (command, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: endoforge COMMAND [OPTIONS]",
            "",
            "Raw GI endoscopy video in; a curated image set, a DINOv2 foundation model and its scorecard out.",
            "",
            *lines,
            "",
            "`endoforge COMMAND --help` lists a command's options with their defaults.",
        ]
    )


def _demo(command: commands.Demo) -> None:
    _prefect_in(command.out / "lake")
    from flows.demo import run_demo

    execution = command.execution
    told: dict[str, Any] = {"phantom": command.phantom, "size": command.size, "recipe": command.recipe}
    print(run_demo(command.out, **told, runner=execution.runner, workers=execution.workers))


def _run(command: commands.Run) -> None:
    _prefect_in(command.lake)
    from flows.pipeline import run_flow

    print(run_flow(**{setting.name: getattr(command, setting.name) for setting in fields(RunConfig)}))


def _prefect_in(lake: Path) -> None:
    """A run without a Prefect server of yours keeps what Prefect writes inside the lake; Prefect reads this when it is imported."""
    if "PREFECT_API_URL" not in os.environ:
        home = Path(os.environ.setdefault("PREFECT_HOME", str(lake.absolute() / ".prefect")))
        home.mkdir(parents=True, exist_ok=True)


def _ingest(command: commands.Ingest) -> None:
    from flows.stages import NothingIngestedError, run_ingest

    with _job(command, create=True) as job:
        why_nothing = run_ingest(job, command.videos, config=command.config).why_nothing
        if why_nothing is not None:
            raise NothingIngestedError(why_nothing)


def _requalify(command: commands.Requalify) -> None:
    from flows.stages import run_requalify

    with _job(command) as job:
        run_requalify(job, config=command.config)


def _embed(command: commands.Embed) -> None:
    with _job(command) as job:
        from flows.stages import run_embed

        run_embed(job, config=command.config)


def _curate(command: commands.Curate) -> None:
    with _job(command, read_only=command.plan) as job:
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

    with _job(command) as job:
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


def _privacy_audit(command: commands.PrivacyAudit) -> None:
    from flows.stages import PrivateOutcome, run_audit, run_private_audit, run_private_sign_off, run_purge_private, run_sign_off

    reviewer = command.reviewer.strip()
    with _job(command) as job:
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
    with _job(command) as job:
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

        with _asked(command) as lake:
            print(run_replay(lake, command.replay_nan))
        return
    if command.resume:
        _resume(command, command.resume)
        return
    if command.set:
        raise ValueError("--set is given without --resume; give settings as options such as --optim.base-lr, or name a run with --resume")
    with _job(command) as job:
        from warehouse.queries import dataset_named

        dataset_named(job.lake, command.dataset)  # before torch is loaded
        from flows.stages import run_pretrain
        from pretrain.init_source import find_init

        init = find_init(command.init, lake_root=command.lake, allow_download=command.allow_download) if command.init else None
        told: dict[str, Any] = {"dataset": command.dataset, "config": command.config, "num_workers": command.train_workers}
        print(run_pretrain(job, **told, validation=command.labelled, init=init).run_id)


def _resume(command: commands.Pretrain, run_id: str) -> None:
    if command.dataset or command.recipe or command.config != recipe("demo"):
        raise ValueError("--resume has its run's dataset and settings; leave --dataset and --recipe out, and change settings with --set")
    if command.init:
        raise ValueError("--resume has its run's weights; leave --init out, or start a new run from other weights without --resume")
    with _job(command) as job:
        from flows.stages import run_resume

        chosen_by = command.labelled
        best = run_resume(job, run_id=run_id, changes=command.set, validation=chosen_by, num_workers=command.train_workers)
        print(best.run_id)


def _evaluate(command: commands.Evaluate) -> None:
    with _job(command) as job:
        from curation.embedding import EmbedConfig
        from flows.stages import run_evaluate

        run_evaluate(
            job,
            checkpoint=command.checkpoint,
            task=command.task,
            data=command.data,
            encoder=EmbedConfig(encoder=command.encoder, allow_download=command.allow_download),
            config=command.config,
        )


def _export_model(command: commands.ExportModel) -> None:
    with _job(command) as job:
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


def _report(command: commands.Report) -> None:
    with _job(command) as job:
        from flows.stages import run_report
        from warehouse.queries import latest_pretraining

        print(run_report(job, run_id=command.run or latest_pretraining(job.lake), out=command.out))


def _verify(command: commands.Verify) -> int:
    from flows.stages import verify_dataset

    with _job(command, read_only=True) as job:
        problems = verify_dataset(job.lake, job.runner, command.name)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _export(command: commands.Export) -> None:
    from flows.stages import export_dataset

    with _job(command, read_only=True) as job:
        export_dataset(job.lake, job.runner, command.name, format=command.format, out=command.out)


def _datasets(command: commands.Datasets) -> None:
    from warehouse.answers import answer
    from warehouse.dataset_list import DATASETS

    with _asked(command) as lake:
        sys.stdout.write(answer(lake, DATASETS, format=command.format))


def _diff(command: commands.Diff) -> None:
    from warehouse.dataset_list import diff_datasets

    with _asked(command) as lake:
        sys.stdout.write(diff_datasets(lake, command.a, command.b, most=command.most))


@contextlib.contextmanager
def _job(command: Any, *, create: bool = False, read_only: bool = False) -> Iterator[Job]:
    """The lake and the runner that a command names."""
    from flows.job import Job
    from flows.runners import make_runner
    from warehouse.lake import open_lake

    with open_lake(command.lake, create=create, read_only=read_only) as lake:
        yield Job(lake=lake, runner=make_runner(command.execution.runner, command.execution.workers))


def _asked(command: Any) -> Lake:
    """The lake that a question is about; its answer needs no runner."""
    from warehouse.lake import open_lake

    return open_lake(command.lake, read_only=True)


def _sql(command: commands.Sql) -> None:
    from warehouse.answers import answer

    with _asked(command) as lake:
        sys.stdout.write(answer(lake, command.statement, format=command.format))


def _lineage(command: commands.Lineage) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from warehouse.ancestry import LineageNode, lineage

    def grow(tree: Tree, node: LineageNode) -> None:
        for child in node.children:
            grow(tree.add(Text(child.label)), child)

    with _asked(command) as lake:
        origin, uses = lineage(lake, command.id, max_children=command.most)
    console = Console(width=10_000, highlight=False)  # a file name is worth more than a tidy right edge
    for title, root in (("made from", origin), ("used by", uses)):
        tree = Tree(Text(f"{root.label}  [{title}]"))
        grow(tree, root)
        if root.children:
            console.print(tree)
        else:
            console.print(Text(f"{root.label}  [{title}: nothing recorded]"))


def _doctor(command: commands.Doctor) -> int:
    from flows.cli.doctor import examine
    from flows.runners import make_runner

    findings = []
    for finding in examine(command.lake, make_runner(command.execution.runner, command.execution.workers)):
        findings.append(finding)
        print(f"{'WRONG' if finding.problem else 'ok':<6} {finding.topic:<10} {finding.found}")
        if finding.problem:
            print(f"{'':<17} -> {finding.problem}")
    return 1 if any(finding.problem for finding in findings) else 0


COMMANDS: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "demo": (commands.Demo, _demo),
    "run": (commands.Run, _run),
    "ingest": (commands.Ingest, _ingest),
    "requalify": (commands.Requalify, _requalify),
    "embed": (commands.Embed, _embed),
    "curate": (commands.Curate, _curate),
    "dedup": (commands.Dedup, _dedup),
    "datasets": (commands.Datasets, _datasets),
    "diff": (commands.Diff, _diff),
    "verify": (commands.Verify, _verify),
    "export": (commands.Export, _export),
    "privacy-audit": (commands.PrivacyAudit, _privacy_audit),
    "remove-out-of-body": (commands.RemoveOutOfBody, _remove_out_of_body),
    "pretrain": (commands.Pretrain, _pretrain),
    "evaluate": (commands.Evaluate, _evaluate),
    "export-model": (commands.ExportModel, _export_model),
    "report": (commands.Report, _report),
    "sql": (commands.Sql, _sql),
    "lineage": (commands.Lineage, _lineage),
    "doctor": (commands.Doctor, _doctor),
}

SUPERVISED = ("demo", "run")
"""Commands that start servers and clusters of other makers, which do not end by themselves when they are interrupted."""


if __name__ == "__main__":
    sys.exit(main())

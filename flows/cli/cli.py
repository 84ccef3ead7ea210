"""`endoforge`: one verb a stage, one for everything, and the questions one asks afterwards."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from tyro.conf import AvoidSubcommands

from curation.filters import filter_sentences
from flows.cli import commands
from flows.cli.actions import ACTIONS
from flows.cli.answers import ANSWERS
from flows.cli.check_command import check_command
from flows.cli.examples import EXAMPLES
from flows.cli.interruption import interruptible, leave_interrupted
from flows.cli.remedies import INSTALL_REMEDY
from flows.cli.reports import report_killed, run_reported
from flows.cli.supervise import begin_supervised, is_supervised, run_supervised
from flows.cli.upkeep import UPKEEP
from pretrain.recipes import recipe
from warehouse.local_path import refuse_uris
from warehouse.private_files import kept_private

if TYPE_CHECKING:
    from pretrain.config import PretrainConfig

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 only when it did its work."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"endoforge {version('endoforge')}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `endoforge {near[0]}`?" if near else f"the commands are {', '.join(COMMANDS)}"
        print(f"endoforge: there is no command {name!r}; {hint}", file=sys.stderr)
        return 2
    if inner := is_supervised():
        begin_supervised()
    debug = "--debug" in rest
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if debug else "CRITICAL")  # its tracebacks are for --debug
    command, run = COMMANDS[name]
    try:
        rest = _with_folder(name, [*rest, *_usual_lake(name, command, rest)])
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
            if name in SUPERVISED and argv is None and not getattr(parsed, "plan", False):
                return report_killed(name, parsed, run_supervised())
        with interruptible(), kept_private():
            return run_reported(name, parsed, run)
    except KeyboardInterrupt:
        return leave_interrupted()
    except BrokenPipeError:  # `endoforge sql ... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C during a query
            return leave_interrupted()
        if debug:
            traceback.print_exc()
        print(f"endoforge: {_sentence(error)}", file=sys.stderr)
        return 1


def _usual_lake(name: str, command: type, arguments: list[str]) -> list[str]:
    """The option that names the lake of ENDOFORGE_LAKE, for a command that takes a lake and was told none, unless it makes a new one."""
    lake = os.environ.get("ENDOFORGE_LAKE", "")
    told = any(argument == "--lake" or argument.startswith("--lake=") for argument in arguments)
    takes = name not in _OF_NEW_LAKES and any(setting.name == "lake" for setting in fields(command))
    return ["--lake", lake] if lake and takes and not told else []


def _with_folder(name: str, arguments: list[str]) -> list[str]:
    """The arguments with the lake's folder in the place of its catalog, where --lake names that."""
    named = [
        place
        for place, argument in enumerate(arguments)
        if argument.startswith(f"--lake={_CATALOG}") or (argument.startswith(_CATALOG) and place and arguments[place - 1] == "--lake")
    ]
    if not named:
        return arguments
    if name in _OF_NEW_LAKES:
        raise ValueError("--lake names a catalog, expected the folder of the new lake; give the folder, and the catalog as --catalog")
    from warehouse.postgres import lake_folder

    told = list(arguments)
    for place in named:
        option, text = ("--lake=", told[place].removeprefix("--lake=")) if told[place].startswith("--lake=") else ("", told[place])
        told[place] = option + str(lake_folder(text))
    return told


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).partition("\n\nLINE ")[0].split()) or type(error).__name__  # one line has no place for DuckDB's pointer
    if isinstance(error, OSError) and error.errno == 28:
        return f"the disk is full ({text}); free some space and type the same command again, what is finished is kept"
    if type(error).__name__ in ("HTTPException", "IOException") and "HTTP" in text:  # DuckDB's, of tables in a store
        return f"the store of the lake's tables cannot be reached ({text}); check the network, the endpoint and the credentials"
    if isinstance(error, ModuleNotFoundError):  # an installation for questions alone has neither torch nor a decoder
        return f"{'FAISS' if error.name == 'faiss' else error.name} is not installed; {INSTALL_REMEDY}"
    if isinstance(error, PermissionError):
        return f"{text}; give this user access, or another folder"
    if isinstance(error, ValueError | OSError | RuntimeError):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _description(name: str, command: type) -> str:
    """What a command does, with an example, and a sentence on each installed filter or on the tasks if it has options for these."""
    said = filter_sentences() if name in ("run", "ingest", "requalify") else []
    if name in ("run", "pretrain", "evaluate", "check-data"):
        from evaluation.tasks import task_sentence  # here: all tasks take a sixth of the time of a refusal

        said.append(task_sentence())
    return "\n\n".join([inspect.cleandoc(command.__doc__ or ""), *said, f"Example: {EXAMPLES[name]}"])


def _default(name: str, arguments: list[str]) -> Any:
    """The recipe's values are the defaults of pretraining's options, so the recipe has to be known before they are parsed.

    A replay needs no checkpoint, task or data.
    """
    missing: Any = tyro.MISSING
    if name == "evaluate":
        asked, _ = tyro.cli(_ToldEvaluate, args=arguments, return_unknown_args=True, add_help=False)
        return None if asked.replay is None else commands.Evaluate(model=(), task=(), data=(), replay=asked.replay)
    if name != "pretrain":
        return None
    told, _ = tyro.cli(_Told, args=arguments, return_unknown_args=True, add_help=False)
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


@dataclass(frozen=True)
class _ToldEvaluate:
    replay: str | None = None


def _overview() -> str:
    lines = []
    for title, names in GROUPS.items():
        lines += [title, *(f"  {name:<18} {(COMMANDS[name][0].__doc__ or '').splitlines()[0]}" for name in names), ""]
    return "\n".join(
        [
            "usage: endoforge COMMAND [OPTIONS]",
            "",
            "Raw GI endoscopy video in; a curated image set, a DINOv2 foundation model and its scorecard out.",
            "",
            *lines,
            "`endoforge COMMAND --help` lists a command's options with their defaults.",
            "ENDOFORGE_LAKE is the lake of commands that are told none.",
        ]
    )


_CATALOG = "ducklake:"
_OF_NEW_LAKES = ("init-lake", "restore")
"""Commands that make the lake that --lake names."""

COMMANDS = {**ACTIONS, **ANSWERS, **UPKEEP}

GROUPS = {
    "All at once": ("demo", "plan", "run"),
    "From videos to a dataset": ("ingest", "requalify", "embed", "dedup", "curate", "select-for-labels"),
    "Privacy": ("privacy-audit", "remove-out-of-body", "forget"),
    "Models": ("pretrain", "evaluate", "predict", "export-model"),
    "Look": ("report", "atlas", "leaderboard", "compare", "sql", "tables", "lineage", "check-data", "doctor"),
    "Datasets": ("datasets", "diff", "verify", "export", "publish"),
    "The lake": ("init-lake", "snapshots", "maintain", "alerts", "backup", "restore", "deploy"),
}
"""Commands as they are listed; each is in one group."""

SUPERVISED = ("demo", "run", "pretrain")
"""Commands that start servers and clusters of other makers, which do not end by themselves when they are interrupted."""


if __name__ == "__main__":
    sys.exit(main())

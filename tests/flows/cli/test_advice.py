"""Flags that messages advise are flags of the command that prints the message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro
from tyro.conf import AvoidSubcommands

from flows.cli import cli

ROOT = Path(cli.__file__).parents[2]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]")
PRINTED_BY = {
    "flows/atlas/layout.py": ["atlas"],
    "flows/atlas/server.py": ["atlas"],
    "warehouse/local_path.py": ["curate", "ingest", "init-lake", "run", "sql"],
    "warehouse/postgres.py": ["curate", "ingest", "init-lake", "run", "sql"],
    "evaluation/heads/low_rank.py": ["evaluate"],
    "evaluation/heads/names.py": ["evaluate"],
    "flows/stages/compare_models.py": ["evaluate"],
    "flows/stages/order.py": ["run"],
    "flows/stages/evaluate_checks.py": ["evaluate"],
    "flows/stages/model_names.py": ["evaluate"],
    "flows/stages/check_notes.py": ["check-data"],
    "evaluation/tasks/kumc.py": ["check-data", "evaluate"],
    "flows/stages/check_clips.py": ["check-data"],
    "flows/cli/upkeep.py": ["forget", "snapshots"],
    "flows/cli/questions.py": ["lineage"],
    "flows/stages/upkeep.py": ["maintain"],
    "warehouse/snapshots.py": ["snapshots"],
    "curation/ingest/config.py": ["ingest", "run"],
    "curation/labelling/class_names.py": ["select-for-labels"],
    "curation/labelling/given.py": ["select-for-labels"],
    "curation/embedding/encoder.py": ["embed", "evaluate", "remove-out-of-body", "run"],
    "curation/embedding/timm_encoder.py": ["embed", "evaluate", "remove-out-of-body", "run"],
    "curation/shards/plan.py": ["curate", "run"],
    "curation/privacy/text_detector.py": ["ingest", "run"],
    "evaluation/predict_config.py": ["predict"],
    "evaluation/replay.py": ["evaluate"],
    "evaluation/tasks/contents.py": ["evaluate", "check-data"],
    "evaluation/tasks/layout.py": ["evaluate", "pretrain", "run", "check-data"],
    "evaluation/tasks/box_layouts.py": ["evaluate", "pretrain", "run", "check-data"],
    "evaluation/tasks/items.py": ["evaluate", "pretrain", "run"],
    "evaluation/tasks/places.py": ["evaluate"],
    "evaluation/tasks/registry.py": ["evaluate"],
    "evaluation/tasks/splits.py": ["evaluate"],
    "evaluation/validate.py": ["pretrain", "run"],
    "evaluation/video/clip_contents.py": ["evaluate"],
    "evaluation/validation_tasks.py": ["pretrain", "run"],
    "flows/cli/actions.py": ["pretrain"],
    "flows/cli/cli.py": [],
    "flows/stages/audit.py": ["privacy-audit"],
    "flows/stages/audit_words.py": ["privacy-audit"],
    "flows/stages/rotation.py": ["evaluate"],
    "flows/cli/check_command.py": ["pretrain"],
    "flows/cli/commands/models.py": ["evaluate"],
    "flows/cli/commands/privacy.py": ["privacy-audit"],
    "flows/stages/label_folder.py": ["select-for-labels"],
    "flows/stages/select_for_labels.py": ["select-for-labels"],
    "flows/stages/datasets.py": ["export"],
    "flows/stages/evaluate.py": ["evaluate"],
    "flows/stages/export_model.py": ["export-model"],
    "flows/stages/export_video_model.py": ["export-model"],
    "flows/cli/doctor.py": ["doctor"],
    "flows/stages/flagged.py": ["privacy-audit"],
    "flows/stages/out_of_body.py": ["remove-out-of-body"],
    "flows/stages/place.py": ["curate"],
    "flows/planning/pretrain_plan.py": ["pretrain"],
    "flows/planning/run_plan.py": ["plan", "run"],
    "flows/planning/table.py": ["curate"],
    "flows/stages/predict.py": ["predict"],
    "flows/stages/predict_parts.py": ["predict"],
    "flows/stages/predict_frame.py": ["predict"],
    "flows/stages/pretrain.py": ["pretrain", "run"],
    "flows/stages/private_audit.py": ["privacy-audit"],
    "flows/runners/process_runner.py": ["ingest", "run"],
    "flows/runners/ray_start.py": ["pretrain"],
    "flows/stages/replay.py": ["pretrain"],
    "flows/stages/resume.py": ["pretrain"],
    "flows/stages/scored_models.py": ["evaluate"],
    "pretrain/damage.py": ["pretrain"],
    "pretrain/failures.py": ["pretrain", "run"],
    "pretrain/published_backbone.py": ["pretrain"],  # flows/stages/scored_models.py says --model for it
    "pretrain/guard.py": ["pretrain", "run"],
    "pretrain/init_layout.py": ["pretrain", "run"],
    "pretrain/init_source.py": ["pretrain", "run"],
    "pretrain/init_weights.py": ["pretrain", "run"],
    "pretrain/continuation.py": ["pretrain", "run"],
    "pretrain/launch.py": ["pretrain", "run"],
    "pretrain/objective.py": ["pretrain"],
    "pretrain/start.py": ["pretrain", "run"],
    "pretrain/video/inflate.py": ["pretrain", "run"],
    "pretrain/video/init_weights.py": ["pretrain", "run"],
    "warehouse/model_card.py": ["lineage", "sql"],
    "warehouse/dataset_queries.py": ["curate", "run"],
}
"""Commands that print the messages of a file; --help and --debug, which all take, aside."""
ONLY_BY = {
    ("warehouse/postgres.py", "--resume"): ["forget"],
    ("flows/cli/check_command.py", "--replay"): ["evaluate"],
    ("flows/cli/check_command.py", "--lake"): ["evaluate"],
    ("flows/cli/check_command.py", "--plan"): ["curate"],
    ("flows/cli/check_command.py", "--clips"): ["curate"],
    ("curation/embedding/encoder.py", "--device"): ["embed", "run"],
    ("flows/cli/upkeep.py", "--tag"): ["snapshots"],
    **{("flows/cli/upkeep.py", flag): ["forget"] for flag in ("--patient", "--video", "--resume")},
}
"""Commands that print a file's message about a flag, if fewer: others leave the device to `auto`, or print other messages of the file."""


def flags_of(name: str) -> set[str]:
    """Every flag that a command takes."""
    command, _ = cli.COMMANDS[name]
    parser = tyro.extras.get_parser(command, default=cli._default(name, []), config=(AvoidSubcommands,))
    return {flag for action in parser._actions for flag in action.option_strings} | {"--help"}


def messages(path: Path) -> Iterator[str]:
    """The text of each string in a file that stands in no docstring; values put into it are left out."""
    tree = ast.parse(path.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in statements or id(node) in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)


def advice() -> list[tuple[str, str]]:
    """(file, message) of all messages with a flag in them."""
    files = [path for room in ("curation", "evaluation", "flows", "pretrain", "warehouse") for path in sorted((ROOT / room).rglob("*.py"))]
    found = [(path.relative_to(ROOT).as_posix(), text) for path in files for text in messages(path)]
    return [(name, text) for name, text in found if " " in text.strip() and FLAG.search(text)]


@pytest.mark.filterwarnings("ignore:get_parser")
@pytest.mark.parametrize(("name", "text"), advice(), ids=lambda value: value[:40])
def test_each_advised_flag_is_one_that_the_command_takes(name: str, text: str) -> None:
    text = f"`{text}`" if text.startswith("endoforge ") else text  # an example, which is nothing but a command
    named = re.findall(r"`endoforge ([a-z-]+)([^`]*)`(?: (--[a-z.-]+))?", text)
    for command, rest, after in named:
        if command in cli.COMMANDS:
            assert set(FLAG.findall(rest)) | ({after} if after else set()) <= flags_of(command)
    bare = set(FLAG.findall(re.sub(r"`endoforge [^`]*`(?: --[a-z.-]+)?", "", text)))
    for flag in bare - {"--debug", "--help"}:
        assert name in PRINTED_BY, f"{name} advises {flag}: name the commands that print it in PRINTED_BY"
        for command in ONLY_BY.get((name, flag), PRINTED_BY[name]):
            taken = flags_of(command)
            assert flag in taken or any(other.endswith("." + flag.removeprefix("--")) for other in taken), f"{command} takes no {flag}"

"""What each command that only asks does; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

from flows.cli import questions
from flows.cli.job import asked, job_of

__all__ = ["ANSWERS"]


def _report(command: questions.Report) -> None:
    with job_of(command) as job:
        from flows.stages import run_report
        from warehouse.queries import latest_pretraining

        print(run_report(job, run_id=command.run or latest_pretraining(job.lake), out=command.out))


def _verify(command: questions.Verify) -> int:
    from flows.stages import verify_dataset

    with job_of(command, read_only=True) as job:
        problems = verify_dataset(job.lake, job.runner, command.name)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _export(command: questions.Export) -> None:
    from flows.stages import export_dataset

    with job_of(command) as job:
        export_dataset(job, command.name, format=command.format, out=command.out)


def _publish(command: questions.Publish) -> None:
    from flows.stages import publish_dataset

    with job_of(command) as job:
        publish_dataset(job, command.name, command.to)


def _compare(command: questions.Compare) -> None:
    from flows.stages import run_compare

    with asked(command) as lake:
        sys.stdout.write(run_compare(lake, command.a, command.b))


def _columns() -> int | None:
    """Of the terminal; None if the answer goes into a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _datasets(command: questions.Datasets) -> None:
    from warehouse.answers import answer
    from warehouse.dataset_list import DATASETS

    with asked(command) as lake:
        sys.stdout.write(answer(lake, DATASETS, format=command.format, columns=_columns()))


def _diff(command: questions.Diff) -> None:
    from warehouse.dataset_list import diff_datasets

    with asked(command) as lake:
        sys.stdout.write(diff_datasets(lake, command.a, command.b, most=command.most))


def _leaderboard(command: questions.Leaderboard) -> None:
    from evaluation.report import render_leaderboard
    from warehouse.queries import all_scores
    from warehouse.store import atomic_file

    with asked(command) as lake:
        said = render_leaderboard(all_scores(lake, task=command.task), format=command.format)
    if command.out is None:
        sys.stdout.write(said)
        return
    with atomic_file(command.out) as file:
        file.write(said.encode())
    print(command.out)


def _sql(command: questions.Sql) -> None:
    from warehouse.answers import answer

    with asked(command, at=command.at) as lake:
        sys.stdout.write(answer(lake, command.statement, format=command.format, columns=_columns()))


def _atlas(command: questions.Atlas) -> int:
    from flows.atlas.export import export_atlas
    from flows.atlas.points import read_atlas
    from flows.atlas.server import serve

    with job_of(command, read_only=command.export is None) as job:
        shown: dict[str, Any] = {"encoder": command.encoder, "beside": command.beside, "dataset": command.dataset, "head": command.head}
        atlas = read_atlas(job.lake, **shown, most=command.most, layout=command.layout)
        if command.export is None:
            try:
                serve(job.lake, atlas, port=command.port)
            except KeyboardInterrupt:
                print("endoforge: interrupted; the same command shows the atlas again, at another address", file=sys.stderr)
                return 130
        else:
            print(export_atlas(job, atlas, command.export))
    return 0


def _tables(command: questions.Tables) -> None:
    from warehouse.answers import as_text
    from warehouse.dictionary import data_dictionary, described

    if command.lake is None:
        entries = data_dictionary()
    else:
        with asked(command) as lake:
            entries = data_dictionary(lake)
    sys.stdout.write(as_text(described(entries, command.name), format=command.format, columns=_columns()))


def _lineage(command: questions.Lineage) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from warehouse.ancestry import LineageNode, lineage

    def grow(tree: Tree, node: LineageNode) -> None:
        for child in node.children:
            grow(tree.add(Text(child.label)), child)

    with asked(command) as lake:
        if command.patient:
            from flows.stages import find_patient
            from warehouse.patient_lineage import patient_lineage

            trees = [("used by", patient_lineage(lake, find_patient(lake, command.patient), max_children=command.most))]
        else:
            origin, uses = lineage(lake, command.id, max_children=command.most)
            trees = [("made from", origin), ("used by", uses)]
    console = Console(width=10_000, highlight=False)  # a file name is worth more than a tidy right edge
    for title, root in trees:
        tree = Tree(Text(f"{root.label}  [{title}]"))
        grow(tree, root)
        if root.children:
            console.print(tree)
        else:
            console.print(Text(f"{root.label}  [{title}: nothing recorded]"))


def _check_data(command: questions.CheckData) -> int:
    from flows.stages import run_check_data

    if command.lake is not None:
        asked(command).close()  # refuses a folder that is no lake
    told: dict[str, Any] = {"task": command.task, "output": command.output, "config": command.config, "lake": command.lake}
    return 0 if run_check_data(command.data, **told) else 1


def _doctor(command: questions.Doctor) -> int:
    from flows.cli.doctor import examine
    from flows.runners import make_runner

    findings = []
    for finding in examine(command.lake, make_runner(command.execution.runner, command.execution.workers)):
        findings.append(finding)
        print(f"{'WRONG' if finding.problem else 'ok':<6} {finding.topic:<10} {finding.found}")
        if finding.problem:
            print(f"{'':<17} -> {finding.problem}")
    return 1 if any(finding.problem for finding in findings) else 0


ANSWERS: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "atlas": (questions.Atlas, _atlas),
    "compare": (questions.Compare, _compare),
    "datasets": (questions.Datasets, _datasets),
    "diff": (questions.Diff, _diff),
    "verify": (questions.Verify, _verify),
    "export": (questions.Export, _export),
    "publish": (questions.Publish, _publish),
    "report": (questions.Report, _report),
    "leaderboard": (questions.Leaderboard, _leaderboard),
    "sql": (questions.Sql, _sql),
    "tables": (questions.Tables, _tables),
    "lineage": (questions.Lineage, _lineage),
    "check-data": (questions.CheckData, _check_data),
    "doctor": (questions.Doctor, _doctor),
}

"""The commands about datasets that are made: list, compare, verify, export. Each returns its exit code."""

from __future__ import annotations

import sys

from flows.cli import commands

__all__ = ["export", "show_datasets", "show_diff", "verify"]


def show_datasets(command: commands.Datasets) -> int:
    """List the datasets."""
    from warehouse.answers import answer
    from warehouse.dataset_list import DATASETS
    from warehouse.lake import open_lake

    with open_lake(command.lake, read_only=True) as opened:
        sys.stdout.write(answer(opened, DATASETS, format=command.format))
    return 0


def show_diff(command: commands.Diff) -> int:
    """Compare two datasets."""
    from warehouse.dataset_list import diff_datasets
    from warehouse.lake import open_lake

    with open_lake(command.lake, read_only=True) as opened:
        sys.stdout.write(diff_datasets(opened, command.a, command.b, most=command.most))
    return 0


def verify(command: commands.Verify) -> int:
    """Read a dataset again; 1 where anything differs."""
    from flows.runners import make_runner
    from flows.stages import verify_dataset
    from warehouse.lake import open_lake

    with open_lake(command.lake, read_only=True) as opened:
        problems = verify_dataset(opened, make_runner(command.execution.runner, command.execution.workers), command.name)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def export(command: commands.Export) -> int:
    """Write a dataset for other tools."""
    from flows.runners import make_runner
    from flows.stages import export_dataset
    from warehouse.lake import open_lake

    with open_lake(command.lake, read_only=True) as opened:
        runner = make_runner(command.execution.runner, command.execution.workers)
        export_dataset(opened, runner, command.name, format=command.format, out=command.out)
    return 0

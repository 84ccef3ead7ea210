"""Packages that add filters, encoders or tasks, installed outside of EndoForge's own environment, and real commands that see them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.warm import warm_commands

REPOSITORY = Path(__file__).parents[2]


def install(source: Path, target: Path) -> dict[str, str]:
    """Install a package into a folder of its own; returns the environment that has it."""
    copy = target.parent / f"{target.name}-source"
    copy.mkdir()
    for file in source.iterdir():
        if file.suffix in (".py", ".toml"):
            (copy / file.name).write_text(file.read_text())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", str(target), str(copy)], check=True, timeout=300)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(REPOSITORY)]), "COLUMNS": "200"}


def endoforge(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    ((code, out, said),) = warm_commands(environment, arguments)
    return subprocess.CompletedProcess(arguments, code, out, said)


def commands(environment: dict[str, str], *words: list[str]) -> list[tuple[int, str]]:
    """Commands one after another in one process; of each its exit code and what it said to stderr."""
    return [(code, said) for code, _, said in warm_commands(environment, *words)]


def package(folder: Path, name: str, code: str, points: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The environment in which a package of one module is installed.

    Args:
        folder: to install into.
        name: of the distribution; its module has underscores in the place of dashes.
        code: of the module.
        points: by group, the attribute of the module that each entry point names.
    """
    module = name.replace("-", "_")
    info = folder / f"{module}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = []
    for group, named in points.items():
        lines += [f"[{group}]", *(f"{point} = {module}:{attribute}" for point, attribute in named.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)]), "COLUMNS": "200"}

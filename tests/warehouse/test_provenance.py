"""Whose commit a run records, asked of real repositories."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import warehouse

PACKAGE = Path(warehouse.__path__[0])
ASK = (
    "import dataclasses, json; from warehouse.provenance import current_provenance;"
    "print(json.dumps(dataclasses.asdict(current_provenance())))"
)


def commit_all(folder: Path) -> str:
    for words in (
        ["init", "-q"],
        ["add", "-A", "-f"],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "m", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def asked(installed: Path) -> dict[str, str | None]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", ASK], env=env, cwd=installed, check=True, capture_output=True, text=True)
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def test_an_installation_inside_another_repository_has_a_version_and_no_commit(tmp_path: Path) -> None:
    installed = tmp_path / "project" / ".venv" / "site-packages"
    shutil.copytree(PACKAGE, installed / "warehouse")
    (tmp_path / "project" / "pyproject.toml").write_text('[project]\nname = "endoforge"\n')
    commit_all(tmp_path / "project")
    found = asked(installed)
    assert (found["code_version"], found["code_dirty_sha256"]) == (importlib.metadata.version("endoforge"), None)


def test_a_checkout_has_its_commit_unless_it_is_another_project(tmp_path: Path) -> None:
    for name in ("endoforge", "another"):
        checkout = tmp_path / name
        shutil.copytree(PACKAGE, checkout / "warehouse")
        (checkout / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
        commit = commit_all(checkout)
        expected = commit if name == "endoforge" else importlib.metadata.version("endoforge")
        assert asked(checkout)["code_version"] == expected

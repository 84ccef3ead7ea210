"""Which code, which libraries and which machine: what makes a run repeatable."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import pwd
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Provenance", "current_provenance", "current_user"]

_REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Identity of the code that runs."""

    code_version: str
    """the commit if this is a git checkout of EndoForge, else the installed version"""
    code_dirty_sha256: str | None
    """of the uncommitted changes; None for a clean checkout"""
    lock_sha256: str | None
    """of requirements.lock"""
    host: str


@functools.cache
def current_provenance() -> Provenance:
    """Look once per process: the code does not change under a running program."""
    commit = _git("rev-parse", "HEAD") if _is_checkout() else None
    changes = _git("diff", "HEAD") if commit else None
    lock = _REPOSITORY / "requirements.lock"
    return Provenance(
        code_version=commit.decode().strip() if commit else importlib.metadata.version("endoforge"),
        code_dirty_sha256=hashlib.sha256(changes).hexdigest() if changes else None,
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        host=platform.node(),
    )


def current_user() -> str:
    """The account that this process runs as; variables such as LOGNAME, which anybody may set, are not asked."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in containers
        return f"uid {number}"


def _is_checkout() -> bool:
    """Whether these files are EndoForge's own repository, and not an installation somewhere inside another one."""
    top, project = _git("rev-parse", "--show-toplevel"), _REPOSITORY / "pyproject.toml"
    if top is None or not project.is_file() or Path(os.fsdecode(top.removesuffix(b"\n"))).resolve() != _REPOSITORY:
        return False
    return bool(tomllib.loads(project.read_text()).get("project", {}).get("name") == "endoforge")


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(_REPOSITORY), *arguments], capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None  # an installed copy, or no git here: the package version has to do
    return done.stdout

"""Hashes of a checkpoint's state files: written beside them, and compared before anything is read.

    checkpoints/step_0000100/state.json     each file of state/ with its SHA-256 and size, each tensor with its shape

A file system that lost power, a full quota, a copy that ended half-way: each leaves files that look whole.
"""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from warehouse.store import content_id, file_sha256, flush_files, read_json, write_json

__all__ = ["StateError", "compare_tensors", "damage", "seal", "tensor_names"]

_THREADS = 4  # hashing releases the interpreter's lock; more threads than this wait for the disk

Shapes = dict[str, list[int]]
"""A tensor's shape by its name."""


class StateError(RuntimeError):
    """A checkpoint's training state is whole, but is not that of this configuration."""


def seal(folder: Path, shapes: Shapes) -> None:
    """Write state.json, and make the state files outlive a power cut.

    Args:
        folder: of the checkpoint; its `state/` is complete.
        shapes: of every tensor in the state.
    """
    paths = sorted((folder / "state").iterdir())
    flush_files(paths)
    files = {path.name: [path.stat().st_size, digest] for path, digest in zip(paths, _digests(paths), strict=True)}
    told = {"files": files, "tensors": shapes}
    write_json(folder / "state.json", told | {"sha256": content_id(told)})


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's state files, for a person; None if they are as they were written.

    Raises:
        OSError: a file may not be read, or its server is away, which says nothing about its content.
    """
    try:
        told = read_json(folder / "state.json")
        if told.pop("sha256") != content_id(told):
            return "state.json is not as it was written"
    except FileNotFoundError:
        return "state.json is missing"
    except (ValueError, KeyError, AttributeError):
        return "state.json is not as it was written"
    files: dict[str, list[Any]] = told["files"]
    found = {path.name: path for path in (folder / "state").glob("[!.]*")}
    if absent := sorted(files.keys() - found.keys()):
        return f"state/{absent[0]} is missing"
    if foreign := sorted(found.keys() - files.keys()):
        return f"state/{foreign[0]} does not belong to it"
    for name, (size, _) in sorted(files.items()):
        if found[name].stat().st_size != size:
            return f"state/{name} has {found[name].stat().st_size:,} bytes of {size:,}"
    try:
        digests = _digests([found[name] for name in sorted(files)])
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"{error.filename or 'a state file'} cannot be read: {error.strerror}"
    for name, digest in zip(sorted(files), digests, strict=True):
        if digest != files[name][1]:
            return f"the content of state/{name} has changed"
    return None


def compare_tensors(folder: Path, shapes: Shapes, *, unread: str | None = None) -> None:
    """See that a checkpoint has the tensors that are to be filled, no fewer and no more.

    Args:
        folder: of the checkpoint.
        shapes: of the tensors that are to be filled.
        unread: what names of tensors begin with that the checkpoint may have and nobody reads.

    Raises:
        StateError: a tensor is missing or left over, or has another shape; the message names the first of each.
    """
    saved: Shapes = read_json(folder / "state.json")["tensors"]
    if unread is not None:
        saved = {name: shape for name, shape in saved.items() if not name.startswith(unread)}
    faults = [
        f"{verb} {_some(names)}"
        for verb, names in (
            ("it lacks", sorted(shapes.keys() - saved.keys())),
            ("it has unknown", sorted(saved.keys() - shapes.keys())),
            ("other shapes have", sorted(name for name in shapes.keys() & saved.keys() if list(shapes[name]) != saved[name])),
        )
        if names
    ]
    if faults:
        raise StateError("; ".join(faults))


def tensor_names(folder: Path) -> set[str]:
    """Names of the tensors that a checkpoint's state has."""
    return set(read_json(folder / "state.json")["tensors"])


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _digests(paths: list[Path]) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(file_sha256, paths))

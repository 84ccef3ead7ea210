"""Heads on disk: tensors as safetensors, all else as JSON beside them. Neither can run code when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from evaluation.heads.head import FittedClasses, FittedMasks, Storable
from evaluation.heads.names import HeadError
from evaluation.heads.registry import CLASS_HEADS, MASK_HEADS, TUNED_CLASS_HEADS, TUNED_MASK_HEADS
from warehouse.store import atomic_file, read_json, write_json

__all__ = ["load_head", "read_settings", "read_tensors", "save_head"]

FORMAT = 1


def save_head(path: Path, name: str, head: Storable, facts: Mapping[str, Any]) -> None:
    """Write `path` (.safetensors) and, last, the JSON beside it.

    Args:
        path: of the tensors.
        name: of the head.
        head: fitted.
        facts: what belongs to it: backbone, data, classes; JSON values.
    """
    with atomic_file(path) as file:
        file.write(save({tensor: value.contiguous() for tensor, value in head.tensors().items()}))
    write_json(path.with_suffix(".json"), {"format": FORMAT, "head": name, "state": _plain(head.state), **facts})


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON of a stored head.

    Raises:
        HeadError: there is none, or it is of a newer format.
    """
    try:
        found: dict[str, Any] = read_json(path.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise HeadError(f"the head {str(path)!r} is not there or not readable ({error}); evaluate again to make it") from error
    if found.get("format") != FORMAT:
        raise HeadError(
            f"the head {str(path)!r} has format {found.get('format')}, expected {FORMAT}; open it with the version that wrote it"
        )
    return found


def load_head(path: Path, *, device: torch.device) -> FittedClasses | FittedMasks:
    """A stored head, whose output equals that of the one that was fitted.

    Raises:
        HeadError: it is not there or damaged, or this version has no such head.
    """
    settings = read_settings(path)
    known: Mapping[str, Any] = {**CLASS_HEADS, **MASK_HEADS, **TUNED_CLASS_HEADS, **TUNED_MASK_HEADS}
    if settings["head"] not in known:
        raise HeadError(f"the head {str(path)!r} is of the kind {settings['head']!r}; give one of {', '.join(known)}")
    fitted: FittedClasses | FittedMasks = known[settings["head"]].load(read_tensors(path), settings["state"], device)
    return fitted


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a stored head.

    Raises:
        HeadError: they are not there or damaged.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise HeadError(f"the head {str(path)!r} is damaged ({error}); evaluate again to make it") from error


def _plain(value: Any) -> Any:
    """JSON values alone: numbers of NumPy as Python's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if hasattr(value, "item") else value

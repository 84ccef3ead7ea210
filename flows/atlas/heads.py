"""Stored heads of scores that fit the vectors of a map: those that were trained on the same encoder's vector. Free of torch until asked."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse import queries
from warehouse.lake import Lake
from warehouse.records import Score
from warehouse.store import read_json

__all__ = ["UsableHead", "check_head", "head_of_score", "newest_heads"]

_HEADS = ("knn", "linear", "linear_grid", "ordinal")
"""heads that tell classes from a vector of a frozen backbone"""
_FEATURES = "last"
"""the feature set that an encoder's vector is; others join it with vectors of earlier blocks or of patches"""
_MOST_FOLDERS = 3
"""backbones that are loaded to see whether they are the map's encoder, if nobody named a head"""

_NEWEST = """
    SELECT s.* EXCLUDE (run_id) FROM scores s JOIN runs r ON r.run_id = s.run_id
    WHERE s.head IN ('knn', 'linear', 'linear_grid', 'ordinal') AND (s.details ->> 'head_file') IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY (s.details ->> 'head_file') ORDER BY r.ended_at DESC, s.score_id) = 1
    ORDER BY r.ended_at DESC, (s.head = 'knn') DESC, s.head, s.score_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableHead:
    """A stored head whose features are a map's vectors."""

    score_id: str
    task: str
    name: str
    path: Path
    classes: tuple[str, ...]

    @property
    def said(self) -> str:
        """What a page says of it."""
        return f"head {self.name} of task {self.task}, score {self.score_id[:12]}"


def newest_heads(lake: Lake, encoder_id: str) -> tuple[UsableHead, ...]:
    """The head of each task that was evaluated last, of those that fit; of one evaluation k-NN comes first, of any length."""
    found: dict[str, UsableHead] = {}
    folders: set[str] = set()
    for row in lake.rows(_NEWEST):
        score = Score(**{**row, "details": json.loads(row["details"])})
        if score.task in found:
            continue
        try:
            head, settings = _head(lake, score)
            folder = settings["backbone"]["path"]
            if score.model_id != encoder_id and (not _is_of_folder(lake, encoder_id) or len(folders | {folder}) > _MOST_FOLDERS):
                continue
            folders.add(folder)
            _check_encoder(lake, score, settings, encoder_id)
        except (ValueError, KeyError):
            continue
        found[score.task] = head
    return tuple(found.values())


def check_head(lake: Lake, named: str, encoder_id: str) -> UsableHead:
    """The head of a score, named by its id or a unique start of it.

    Raises:
        LakeError: there is no such score.
        ValueError: its head does not fit the vectors of that encoder.
    """
    score = queries.score_with_id(lake, named)
    head, settings = _head(lake, score)
    _check_encoder(lake, score, settings, encoder_id)
    return head


def head_of_score(lake: Lake, named: str) -> UsableHead:
    """The head of a score, if it is one of classes on an encoder's vector, whichever encoder that is; nothing heavy is loaded.

    Raises:
        LakeError: there is no such score.
        ValueError: it has no such head.
    """
    return _head(lake, queries.score_with_id(lake, named))[0]


def _head(lake: Lake, score: Score) -> tuple[UsableHead, Mapping[str, Any]]:
    """Its head with the JSON beside it."""
    file = score.details.get("head_file")
    if file is None:
        raise _misfit(score, "it has no stored head")
    try:
        settings = read_json((path := lake.root / file).with_suffix(".json"))
        features = settings["state"].get("feature_set", _FEATURES)
    except (OSError, ValueError, KeyError) as error:
        raise _misfit(score, "the files of its head are gone or damaged") from error
    if settings["head"] not in _HEADS or "clips" in settings:
        raise _misfit(score, f"its head is {settings['head']}, which does not tell classes from one vector of a frame")
    if features != _FEATURES:
        raise _misfit(score, f"its head reads the features {features}, of which the lake has the part {_FEATURES} alone")
    head = UsableHead(
        score_id=score.score_id, task=score.task, name=settings["head"], path=path, classes=tuple(map(str, settings["classes"]))
    )
    return head, settings


def _check_encoder(lake: Lake, score: Score, settings: Mapping[str, Any], encoder_id: str) -> None:
    """Refuse a head of another backbone than the encoder, or one that saw pictures of another size."""
    told = settings["backbone"]
    folder = lake.root / told["path"]
    label = queries.encoder_label(lake, encoder_id)
    if told["weights"] != "trained" or (
        told["model_id"] != encoder_id
        and not (told["path"] and _is_of_folder(lake, encoder_id) and _encoder_id_of(str(folder)) == encoder_id)
    ):
        raise _misfit(score, f"it is of the backbone {told['label']}, and the vectors are of the encoder {Path(label).name}")
    if told["path"]:
        try:
            config = read_json(folder / "config.json")
        except (OSError, ValueError) as error:
            raise _misfit(score, f"its backbone {told['label']} is gone or damaged") from error
        own = int(config.get("pretrained_cfg", config)["input_size"][-1])
        if told["image_size"] != own:
            raise _misfit(score, f"it saw pictures of {told['image_size']} pixels, and the vectors are of {own}")


def _is_of_folder(lake: Lake, encoder_id: str) -> bool:
    """Whether the lake was embedded by a folder, which a score knows by another id."""
    return "/" in queries.encoder_label(lake, encoder_id)


@functools.cache
def _encoder_id_of(folder: str) -> str:
    """The id that the backbone in a folder has as an encoder; empty if it cannot be one."""
    from curation.embedding import id_of, published

    try:
        return id_of(*published(folder, None, allow_download=False))
    except (OSError, ValueError):
        return ""


def _misfit(score: Score, why: str) -> ValueError:
    return ValueError(
        f"the head of score {score.score_id[:12]} does not fit the map: {why}; "
        "give a score of knn or linear on the map's own encoder, or leave it out"
    )

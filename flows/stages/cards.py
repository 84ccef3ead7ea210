"""The documents that go with a dataset, from what the lake knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warehouse.clip_card import clip_card
from warehouse.croissant import DataFile, croissant
from warehouse.dataset_card import DataForm, dataset_card
from warehouse.dataset_facts import dataset_facts
from warehouse.lake import Lake
from warehouse.records import Dataset
from warehouse.store import file_sha256

__all__ = ["data_file", "make_cards", "make_clip_cards"]


def make_cards(
    lake: Lake,
    dataset: Dataset,
    *,
    made_from: Mapping[str, str],
    settings: Mapping[str, Any],
    form: DataForm = "shards",
    files: Sequence[DataFile] | None = None,
) -> dict[str, str]:
    """README.md and croissant.json of a dataset whose samples.parquet is written.

    Args:
        lake: where the dataset is.
        dataset: what they are about.
        made_from: dedup_id, tree_id and encoder_id.
        settings: of the sharding.
        form: of the data beside them.
        files: those that croissant.json names beside the tars (see `croissant`); the dataset's own samples.parquet if not given.
    """
    samples = lake.root / dataset.path / "samples.parquet"
    facts = dataset_facts(lake, samples, dataset_id=dataset.dataset_id, selection_id=dataset.selection_id, made_from=made_from)
    named = [data_file(samples, samples.parent)] if files is None else files
    return {
        "README.md": dataset_card(dataset, facts, settings=settings, form=form),
        "croissant.json": croissant(dataset, facts, form=form, files=named),
    }


def make_clip_cards(
    lake: Lake,
    dataset: Dataset,
    *,
    made_from: Mapping[str, str],
    settings: Mapping[str, Any],
    clip_settings: Mapping[str, Any],
    clip_key: str,
) -> dict[str, str]:
    """README.md of a dataset of clips whose samples.parquet is written."""
    samples = lake.root / dataset.path / "samples.parquet"
    told: dict[str, Any] = {"dedup_id": made_from["dedup_id"], "settings": {"clips": clip_settings, "shard": settings}}
    return {"README.md": clip_card(lake, dataset, samples, clip_key=clip_key, **told)}


def data_file(path: Path, folder: Path) -> DataFile:
    """A file as croissant.json in `folder` names it."""
    return DataFile(path=path.relative_to(folder).as_posix(), num_bytes=path.stat().st_size, sha256=file_sha256(path))

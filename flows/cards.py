"""The documents that go with a dataset, from what the lake knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warehouse.croissant import croissant
from warehouse.dataset_card import DataForm, dataset_card
from warehouse.dataset_facts import dataset_facts
from warehouse.lake import Lake
from warehouse.records import Dataset
from warehouse.store import file_sha256

__all__ = ["make_cards"]


def make_cards(
    lake: Lake, dataset: Dataset, *, made_from: Mapping[str, str], settings: Mapping[str, Any], form: DataForm = "shards"
) -> dict[str, str]:
    """README.md and croissant.json of a dataset whose samples.parquet is written."""
    samples = lake.root / dataset.path / "samples.parquet"
    facts = dataset_facts(lake, samples, dataset_id=dataset.dataset_id, selection_id=dataset.selection_id, made_from=made_from)
    return {
        "README.md": dataset_card(dataset, facts, settings=settings, form=form),
        "croissant.json": croissant(
            dataset, facts, samples=(samples.stat().st_size, file_sha256(samples)), folder="" if form == "shards" else "data/"
        ),
    }

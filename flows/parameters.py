"""Parameters as a deployment gives them, in JSON: checked, and shown by Prefect's form with what each setting means.

By itself pydantic passes over a key that a dataclass lacks: a misspelt setting would be lost without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from curation.clustering import ClusterConfig
from curation.dedup import DedupConfig
from curation.embedding import EmbedConfig
from curation.holdout import HoldoutConfig
from curation.ingest import DeviceConfig, IngestConfig
from curation.selection import SampleConfig
from curation.shards import ShardConfig
from evaluation.config import EvaluateConfig
from pretrain.config import PretrainConfig
from pretrain.recipes import recipe

__all__ = ["changed_recipe"]

_RECORDS = (
    IngestConfig,
    DeviceConfig,
    EmbedConfig,
    HoldoutConfig,
    DedupConfig,
    ClusterConfig,
    SampleConfig,
    ShardConfig,
    EvaluateConfig,
    PretrainConfig,
)


def _make_strict(record: type) -> None:
    with_config(ConfigDict(extra="forbid", use_attribute_docstrings=True))(record)
    for hint in get_type_hints(record).values():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                _make_strict(part)


for _record in _RECORDS:
    _make_strict(_record)


def changed_recipe(name: str, changes: Mapping[str, Any] | None) -> PretrainConfig:
    """A recipe with some of its values replaced, such as `{"train": {"num_steps": 1000}}`.

    Raises:
        ValueError: no recipe has that name, or it has no such value, or the value is out of range.
    """
    config = recipe(name)
    if not changes:
        return config
    merged = _merged(asdict(config), changes)
    try:
        return TypeAdapter(PretrainConfig).validate_json(json.dumps(merged))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(
            f"recipe {name} cannot be changed so ({wrong}); it has {', '.join(field.name for field in fields(config))}"
        ) from None


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        name: _merged(values[name], change)
        for name, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(name), dict)
    }
    return {**values, **changes, **nested}

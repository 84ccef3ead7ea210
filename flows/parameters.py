"""Parameters as a deployment gives them, in JSON: made from `RunConfig`, checked, and shown by Prefect's form with what each means.

By itself pydantic passes over a key that a dataclass lacks: a misspelt setting would be lost without a word.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from curation.holdout import HoldoutConfig
from flows.config import RunConfig
from pretrain.config import PretrainConfig
from pretrain.init_source import InitSource
from pretrain.recipes import recipe
from warehouse.local_path import refuse_uris
from warehouse.postgres import lake_folder

__all__ = ["changed_recipe", "takes"]

Result = TypeVar("Result")


def _make_strict(record: type) -> None:
    with_config(ConfigDict(extra="forbid", use_attribute_docstrings=True))(record)
    for hint in get_type_hints(record).values():
        for part in (hint, *get_args(hint)):
            if isinstance(part, type) and is_dataclass(part):
                _make_strict(part)


for _record in (RunConfig, PretrainConfig):
    _make_strict(_record)

_REQUIRED = ("videos", "lake", "size", "recipe")
"""Parameters without a default, of the flows that take them."""


_ONE_OR_SEVERAL = ("validation", "validation_task", "validation_order", "validation_protocol")
"""Parameters that may be given as a string or as several of them."""


def takes(names: Sequence[str], **defaults: Any) -> Callable[[Callable[[RunConfig], Result]], Callable[..., Result]]:
    """Let a function of a `RunConfig` take some of its settings as keywords, as Prefect wants its flows.

    Args:
        names: of the settings.
        defaults: that differ from those of `RunConfig`.
    """
    chosen = [setting for setting in fields(RunConfig) if setting.name in names]

    def decorate(function: Callable[[RunConfig], Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def taking(**given: Any) -> Result:
            return function(_run_config({**defaults, **given}))

        hints = get_type_hints(RunConfig)
        described = "\n".join(f"    {setting.name}: {_meaning(setting.name, hints[setting.name])}" for setting in chosen)
        taking.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nArgs:\n{described}"
        parameters = [_parameter(setting, hints[setting.name], defaults) for setting in chosen]
        returned = get_type_hints(function)["return"]
        taking.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
        return taking

    return decorate


def _meaning(name: str, hint: Any) -> str:
    """What stands below the setting, or for a record above its own settings."""
    if is_dataclass(hint):
        return (inspect.getdoc(hint) or "").partition("\n\n")[0].replace("\n", " ")
    return " ".join(_properties()[name]["description"].split())


@functools.cache
def _properties() -> dict[str, Any]:
    """The JSON schema of `RunConfig` by setting, which takes a second to make."""
    properties: dict[str, Any] = TypeAdapter(RunConfig).json_schema()["properties"]
    return properties


def _run_config(given: Mapping[str, Any]) -> RunConfig:
    """What is None keeps its default; what is held out may be given as its paths alone."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    if isinstance(values.get("holdout"), tuple):
        values["holdout"] = HoldoutConfig(holdout=values["holdout"])
    for name in _ONE_OR_SEVERAL:
        if isinstance(values.get(name), str):
            values[name] = (values[name],)
    if "validation" in values:
        values["validation"] = tuple(map(Path, values["validation"]))
    if "lake" in values:
        values["lake"] = lake_folder(str(values["lake"]))
    for name in ("summary", "metrics_file"):
        if name in values:
            values[name] = Path(values[name])
    config = RunConfig(**values)
    refuse_uris(config)
    return config


def _parameter(setting: Field[Any], hint: Any, defaults: Mapping[str, Any]) -> inspect.Parameter:
    """JSON has lists and no tuples; a record or a list that is not given is None."""
    kinds = tuple(kind for kind in (get_args(hint) if isinstance(hint, types.UnionType) else (hint,)) if kind is not type(None))
    (kind,) = kinds
    if get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]]  # type: ignore[misc]
    if kind is HoldoutConfig:
        kind = list[str] | HoldoutConfig
    if setting.name in _ONE_OR_SEVERAL:
        kind = str | list[str]
    if setting.name in _REQUIRED:
        return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
    default = defaults.get(setting.name, None if setting.default in (MISSING, ()) else setting.default)
    annotation = kind if default is not None else kind | None
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def changed_recipe(name: str | None, changes: Mapping[str, Any] | None, init: InitSource | None = None) -> PretrainConfig:
    """A recipe with some of its values replaced, such as `{"train": {"num_steps": 1000}}`.

    Args:
        name: of the recipe.
        changes: by section, values to replace.
        init: trained weights that a run starts from; the recipe is then as it is for them, before the changes.

    Raises:
        ValueError: no recipe has that name, or it has no such value, or the value is out of range.
    """
    config = recipe(name or "")
    if init is not None:
        from pretrain.continuation import continued

        config = continued(name or "", config, init)
    if not changes:
        return config
    return changed_config(f"recipe {name}", asdict(config), changes)


def changed_config(what: str, values: Mapping[str, Any], changes: Mapping[str, Any]) -> PretrainConfig:
    """Settings of pretraining with some of their values replaced.

    Args:
        what: has these settings, for the message of an error.
        values: all settings by section.
        changes: by section, those to replace.

    Raises:
        ValueError: there is no such setting, or the value is out of range.
    """
    merged = _merged(dict(values), changes)
    try:
        return TypeAdapter(PretrainConfig).validate_json(json.dumps(merged))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(
            f"{what} cannot be changed so ({wrong}); it has {', '.join(field.name for field in fields(PretrainConfig))}"
        ) from None


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        name: _merged(values[name], change)
        for name, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(name), dict)
    }
    return {**values, **changes, **nested}

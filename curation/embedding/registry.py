"""All encoders by name: those of other packages, the one of the installation, and whatever timm builds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from curation.embedding.encoder_name import ENTRY_POINTS, OFFLINE_ENCODER
from curation.embedding.encoder_source import EncoderSource
from warehouse.plug_ins import Group, load_named, unusable

__all__ = ["ENCODERS", "find_encoder"]


def find_encoder(name: str, image_size: int | None, *, allow_download: bool) -> EncoderSource:
    """The encoder of that name, for images of that size; its own if that is None.

    Raises:
        ValueError: the name is unknown, its weights are not on this machine, the folder is not a timm export, or it takes no such images.
        PlugInError: the encoder of another package cannot be used.
    """
    found = load_named(ENCODERS, name)
    if found:
        title, source = found
        source = _sized(source, image_size)
        return replace(source, load=lambda: _tried(title, source))
    if name == OFFLINE_ENCODER:
        from curation.embedding.offline_encoder import OFFLINE

        return _sized(OFFLINE, image_size)
    from curation.embedding.timm_encoder import timm_source

    return timm_source(name, image_size, allow_download=allow_download)


def _sized(source: EncoderSource, image_size: int | None) -> EncoderSource:
    own = source.preprocessing.image_size
    if image_size in (None, own):
        return source
    if not source.takes_any_size:
        raise ValueError(f"encoder {source.name!r} takes images of {own} pixels, and image_size is {image_size}; leave it out")
    return replace(source, preprocessing=replace(source.preprocessing, image_size=image_size))


def _tried(title: str, source: EncoderSource) -> Any:
    """What another package's loader gives, if it maps two images to two vectors."""
    import torch

    side = source.preprocessing.image_size
    try:
        module = source.load()
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"its loader gave {type(module).__name__}, expected a torch.nn.Module")
        module.cpu().eval().requires_grad_(False)
        with torch.inference_mode():
            vectors = module(torch.zeros(2, 3, side, side).to(memory_format=torch.channels_last))
        shape = tuple(getattr(vectors, "shape", ()))
        if len(shape) != 2 or shape[0] != 2:
            raise TypeError(f"2 images gave {type(vectors).__name__} of shape {shape}, expected a vector each")
    except Exception as error:  # whatever a package of someone else does
        raise unusable(f"{title} cannot be used", error) from error
    return module


def _fault(point: str, loaded: EncoderSource, _: Sequence[EncoderSource]) -> str | None:
    """What makes an encoder of another package unusable."""
    if loaded.name != point:
        return f"has the name {loaded.name!r}; give it and its entry point one name"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", loaded.name) or loaded.name == OFFLINE_ENCODER:
        return f"has the name {loaded.name!r}; give another, of letters, digits, dot, dash and underscore"
    return None


ENCODERS = Group(name=ENTRY_POINTS, kind="encoder", record=EncoderSource, fault=_fault)

"""What a person writes to have more, or less, of something in a dataset. Free of heavy imports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WEIGHT_KINDS", "Weight", "parse_weights"]

WEIGHT_KINDS = ("cluster", "site", "device", "procedure", "patient", "video")

_LEAST, _MOST = 0.001, 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Frames of this cluster or metadata value count so many times."""

    kind: str
    """one of WEIGHT_KINDS"""
    value: str
    """of a cluster level/id, as in the table `clusters`; else what the view `video_info` says"""
    factor: float

    @property
    def cluster(self) -> tuple[int, int]:
        """Level, the finest being 1, and number of the cluster."""
        level, _, number = self.value.partition("/")
        return int(level), int(number)


def parse_weights(texts: Sequence[str]) -> tuple[Weight, ...]:
    """Read `kind:value=factor`, such as cluster:2/17=3 or site:Oslo=2.

    Raises:
        ValueError: one is not of that form, its kind is unknown, its factor is no number in 0.001 to 1000, or two name the same.
    """
    weights: dict[tuple[str, str], Weight] = {}
    for text in texts:
        name, _, factor = text.rpartition("=")
        kind, _, value = name.partition(":")
        if kind not in WEIGHT_KINDS or not value:
            raise ValueError(
                f"weight {text!r} is not KIND:VALUE=FACTOR with KIND one of {', '.join(WEIGHT_KINDS)}; give for example site:Oslo=2"
            )
        try:
            weight = Weight(kind=kind, value=value, factor=float(factor))
        except ValueError:
            raise ValueError(f"weight {text!r} has {factor!r} for a factor; give a number, as in {name}=2") from None
        if not (math.isfinite(weight.factor) and _LEAST <= weight.factor <= _MOST):
            raise ValueError(f"weight {text!r} has factor {factor}; give {_LEAST} to {_MOST:g}")
        if kind == "cluster" and not all(part.isdecimal() for part in (value.partition("/")[0], value.partition("/")[2])):
            raise ValueError(
                f"weight {text!r} names no cluster; give cluster:LEVEL/ID=FACTOR with the finest level 1, as in cluster:2/17=3"
            )
        if (kind, value) in weights:
            raise ValueError(f"weight {text!r} names {name} a second time; give each once")
        weights[kind, value] = weight
    return tuple(weights.values())

"""What stored heads say of the points of a map: a class for each point, with its probability, from the vectors that the lake has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from flows.atlas.heads import UsableHead

if TYPE_CHECKING:
    from evaluation.heads import FittedClasses

__all__ = ["Prediction", "predicted"]

_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A head's answer for each point."""

    head: UsableHead
    words: tuple[str, ...]
    """the most probable class of each point"""
    probabilities: npt.NDArray[np.float32]
    """(N,) of that class"""

    @property
    def colour(self) -> str:
        """What the map calls the colouring."""
        return f"predicted {self.head.task}"


def predicted(head: UsableHead, vectors: npt.NDArray[np.float32]) -> Prediction:
    """Apply a head to unit vectors (N, dim).

    An encoder's vectors were longer when the head was trained. k-NN takes no notice; other heads get all vectors at the length that their
    training vectors had on average (the root of their mean square), which the head's scaler knows.

    Raises:
        HeadError: the head is damaged.
    """
    import torch

    from evaluation.heads import load_head

    fitted = cast("FittedClasses", load_head(head.path, device=torch.device("cpu")))
    scaler = getattr(fitted, "scaler", None)
    length = 1.0 if scaler is None else float(np.sqrt((scaler.mean**2 + scaler.scale**2).sum()))
    classes, shares = [], []
    for start in range(0, len(vectors), _ROWS):
        found = fitted.probabilities({"last": vectors[start : start + _ROWS] * np.float32(length)})
        classes.append(found.argmax(axis=1))
        shares.append(found.max(axis=1))
    words = np.asarray(head.classes, dtype=object)[np.concatenate(classes)]
    return Prediction(head=head, words=tuple(words.tolist()), probabilities=np.concatenate(shares).astype(np.float32))

"""A second model beside the map's own: the same frames as another encoder of the lake embedded them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.embedding import vectors_of
from flows.atlas.layout import LayoutName, lay_out
from flows.atlas.nearest import NEAR, nearest_rows
from warehouse import queries
from warehouse.lake import Lake

__all__ = ["Beside", "encoder_name", "read_beside", "share_in_common"]

_COMPARED = 500
"""points at most whose neighbours are compared for the figure of the whole map"""
_COSINES = 20_000_000
"""cosines computed for it, or those of 20 points"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The second encoder's view of the map's points."""

    name: str
    """name of the encoder, from `encoder_name`"""
    vectors: npt.NDArray[np.float32]
    """(N, dim), unit vectors of the points"""
    positions: npt.NDArray[np.float32]
    """(N, 2), each axis 0 to 1"""


def read_beside(lake: Lake, encoder_id: str, frame_ids: pa.Array, layout: LayoutName) -> Beside:
    """The vectors of these frames by another encoder, and where it puts them."""
    vectors = vectors_of(frame_ids, queries.embedding_parts(lake, encoder_id), lake.root)
    return Beside(name=encoder_name(lake, encoder_id), vectors=vectors, positions=lay_out(vectors, layout)[0])


def encoder_name(lake: Lake, encoder_id: str) -> str:
    """What an encoder was called when it embedded last; of a folder only its name, or a run's id and what follows it."""
    label = queries.encoder_label(lake, encoder_id)
    parts = [part for part in Path(label).parts if part not in ("backbone", "checkpoints")]
    run = next((place for place, part in enumerate(parts) if part.startswith("pretrain-")), len(parts) - 1)
    return "/".join(parts[run:]) if Path(label).is_absolute() else label


def share_in_common(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """The share of a point's nearest points that are nearest by both of two sets of vectors (N, dim), over some points."""
    common = 0.0
    for point in range(compared := min(_COMPARED, len(first), max(20, _COSINES // len(first)))):
        sides = [{place for place, _ in nearest_rows(vectors, vectors[point], without=point)} for vectors in (first, second)]
        common += len(sides[0] & sides[1]) / min(NEAR, len(first) - 1)
    return common / compared

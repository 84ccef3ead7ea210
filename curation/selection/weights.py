"""Weights by cluster and metadata, turned into one number a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curation.selection.weight_spec import Weight

__all__ = ["frame_weights"]

_MOST_NAMED = 10


def frame_weights(
    weights: Sequence[Weight], paths: npt.NDArray[np.integer], metadata: Mapping[str, Sequence[pa.ChunkedArray]]
) -> npt.NDArray[np.float64]:
    """The weight of each frame, (n,): the product of those that name its clusters and its video's metadata, 1 where none does.

    Args:
        weights: what counts more or less.
        paths: (n, T) cluster of each frame at each level, finest first.
        metadata: for each kind but cluster, the value of each frame, null where it is unknown; in further columns the values of frames that
            have several. A frame of unknown value counts once.

    Raises:
        ValueError: no frame has that value, or lies in that cluster; the message lists what there is.
    """
    product = np.ones(len(paths))
    for weight in weights:
        named = _in_cluster(weight, paths) if weight.kind == "cluster" else _has_value(weight, metadata[weight.kind])
        product[named] *= weight.factor
    return product


def _in_cluster(weight: Weight, paths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    level, number = weight.cluster
    if not 1 <= level <= paths.shape[1]:
        raise ValueError(f"weight cluster:{weight.value} names level {level}; the levels are 1 (finest) to {paths.shape[1]}")
    named: npt.NDArray[np.bool_] = paths[:, level - 1] == number
    if not named.any():
        last = paths[:, level - 1].max(initial=0)
        raise ValueError(f"weight cluster:{weight.value} names a cluster without candidates; those of level {level} are 0 to {last}")
    return named


def _has_value(weight: Weight, columns: Sequence[pa.ChunkedArray]) -> npt.NDArray[np.bool_]:
    named = np.logical_or.reduce([pc.fill_null(pc.equal(values, weight.value), False).to_numpy() for values in columns])
    if not named.any():
        counts = sorted(pc.value_counts(columns[0].drop_null()).to_pylist(), key=lambda row: (-row["counts"], row["values"]))
        known = ", ".join(f"{row['values']} ({row['counts']} frames)" for row in counts[:_MOST_NAMED])
        more = f" and {len(counts) - _MOST_NAMED} more" if len(counts) > _MOST_NAMED else ""
        raise ValueError(
            f"weight {weight.kind}:{weight.value} names a {weight.kind} that no candidate has; "
            + (f"known: {known}{more}" if counts else f"none is known: give a manifest with the column {weight.kind} to `endoforge ingest`")
        )
    return np.asarray(named)

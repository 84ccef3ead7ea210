"""From vectors to positions on a plane: principal components, or t-SNE of a sample in which the other points are placed."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SAMPLE_POINTS", "LayoutName", "lay_out"]

LayoutName = Literal["pca", "tsne"]
SAMPLE_POINTS = 10_000
"""points that t-SNE lays out itself; scikit-learn's takes minutes for many more"""
_TSNE_DIM = 50
_ROWS = 8192
_NEAR = 5
"""neighbours in the sample of which a placed point has the median position"""

Floats = npt.NDArray[np.floating]


def lay_out(
    vectors: npt.NDArray[np.float32], layout: LayoutName, *, num_sample: int = SAMPLE_POINTS
) -> tuple[npt.NDArray[np.float32], str]:
    """Positions (N, 2) from 0 to 1, the same ones each time, and what they are in words.

    Args:
        vectors: (N, dim), in an order that is random, so that the first ones are a sample.
        layout: how.
        num_sample: points of which t-SNE is computed; the rest lie among those of them that they are most like.
    """
    components, shares = _principal(vectors, 2 if layout == "pca" else min(_TSNE_DIM, num_sample, *vectors.shape))
    if layout == "pca":
        said = f"positions are the first two principal components, {shares.sum():.0%} of the variance"
        return _unit(components), f"{said}: what is far apart differs, what is near need not be alike"
    from sklearn.manifold import TSNE

    sample = components[:num_sample]
    found = TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(sample) - 1) / 3)).fit_transform(sample)
    said = "positions are t-SNE of 50 principal components: neighbours are alike, distances between groups mean nothing"
    if len(vectors) > num_sample:
        found = np.concatenate([found, _placed(components[num_sample:], sample, found)])
        said += f"; {num_sample:,} points are laid out so, the others lie among the {_NEAR} of these that they are most like"
    return _unit(found), said


def _placed(others: Floats, sample: Floats, positions: Floats) -> Floats:
    """Positions (M, 2) of points that were not laid out: the median of their nearest ones in the sample, a little towards the nearest.

    A median does not fall between two groups, as a mean does. The step towards the nearest keeps points with the same neighbours apart.
    """
    import faiss

    index = faiss.IndexFlatL2(sample.shape[1])
    index.add(np.ascontiguousarray(sample, np.float32))
    placed = np.empty((len(others), 2), positions.dtype)
    for start in range(0, len(others), _ROWS):
        _, near = index.search(np.ascontiguousarray(others[start : start + _ROWS], np.float32), min(_NEAR, len(sample)))
        placed[start : start + _ROWS] = 0.5 * np.median(positions[near], axis=1) + 0.5 * positions[near[:, 0]]
    return placed


def _principal(vectors: npt.NDArray[np.float32], number: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coordinates (N, number) on the principal components, and each one's share of the variance; in float64 some rows at a time."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS] - mean
        spread += block.T @ block
    values, axes = np.linalg.eigh(spread)
    values, axes = np.maximum(values[::-1], 0.0), axes[:, ::-1][:, :number]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # an axis may point either way
    coordinates = np.concatenate([(vectors[start : start + _ROWS] - mean) @ (axes * signs) for start in range(0, len(vectors), _ROWS)])
    return coordinates, values[:number] / max(float(values.sum()), 1e-12)


def _unit(positions: Floats) -> npt.NDArray[np.float32]:
    low = positions.min(axis=0)
    spread = positions.max(axis=0) - low
    unit: npt.NDArray[np.float32] = ((positions - low) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return unit

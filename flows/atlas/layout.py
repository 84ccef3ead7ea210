"""From vectors to positions on a plane: principal components, or t-SNE of few points."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_TSNE_POINTS", "LayoutName", "lay_out"]

LayoutName = Literal["pca", "tsne"]
MAX_TSNE_POINTS = 10_000
_TSNE_DIM = 50
_ROWS = 8192


def lay_out(vectors: npt.NDArray[np.float32], layout: LayoutName) -> tuple[npt.NDArray[np.float32], str]:
    """Positions (N, 2) from 0 to 1, the same ones each time, and what they are in words.

    Raises:
        ValueError: t-SNE is asked of more than MAX_TSNE_POINTS vectors.
    """
    if layout == "tsne" and len(vectors) > MAX_TSNE_POINTS:
        raise ValueError(f"got {len(vectors):,} points for t-SNE, expected at most {MAX_TSNE_POINTS:,}; lower --most or take --layout pca")
    components, shares = _principal(vectors, 2 if layout == "pca" else min(_TSNE_DIM, *vectors.shape))
    if layout == "pca":
        said = f"positions are the first two principal components, {shares.sum():.0%} of the variance"
        return _unit(components), f"{said}: what is far apart differs, what is near need not be alike"
    from sklearn.manifold import TSNE

    found = TSNE(init="pca", random_state=0, perplexity=min(30.0, (len(vectors) - 1) / 3)).fit_transform(components)
    return _unit(found), "positions are t-SNE of 50 principal components: neighbours are alike, distances between groups mean nothing"


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


def _unit(positions: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    low = positions.min(axis=0)
    spread = positions.max(axis=0) - low
    unit: npt.NDArray[np.float32] = ((positions - low) / np.where(spread > 0, spread, 1)).astype(np.float32)
    return unit

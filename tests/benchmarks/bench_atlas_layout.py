"""How well the atlas places points among a t-SNE sample, against t-SNE of them all, and how long a million takes.

Points are the embedded frames of a lake, and made ones, which wander as frames of videos do. Quality is the share of a placed point's ten
true neighbours that are among its ten on the map, and scikit-learn's trustworthiness.

    python -m tests.benchmarks.bench_atlas_layout --lake demo/lake
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from flows.atlas.layout import lay_out
from flows.atlas.most_points import MAX_POINTS
from flows.atlas.points import read_atlas
from warehouse.lake import open_lake

Floats = npt.NDArray[np.float32]
K = 10


def made(count: int, *, dim: int = 64, frames: int = 50) -> Floats:
    """Unit vectors (count, dim) in random order, `frames` of each video, which wanders from one of 40 places."""
    random = np.random.default_rng(0)
    places = random.normal(size=(40, dim))
    videos = places[random.integers(0, 40, count // frames)] + 0.5 * random.normal(size=(count // frames, dim))
    steps = random.normal(size=(len(videos), frames, dim), scale=0.12).cumsum(axis=1)
    vectors = (videos[:, None] + steps).reshape(-1, dim)[random.permutation(len(videos) * frames)]
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def kept(vectors: Floats, positions: Floats, start: int) -> float:
    """Share of the true neighbours that the map keeps, over the points from `start` on."""
    true = NearestNeighbors(n_neighbors=K + 1).fit(vectors).kneighbors(vectors[start:], return_distance=False)[:, 1:]
    near = NearestNeighbors(n_neighbors=K + 1).fit(positions).kneighbors(positions[start:], return_distance=False)[:, 1:]
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(true, near, strict=True)]))


def compare(name: str, vectors: Floats, num_sample: int) -> None:
    for said, sample in (("all laid out", len(vectors)), (f"{num_sample} laid out, the rest placed", num_sample)):
        start = time.perf_counter()
        positions, _ = lay_out(vectors, "tsne", num_sample=sample)
        seconds = time.perf_counter() - start
        share, trust = kept(vectors, positions, num_sample), trustworthiness(vectors, positions, n_neighbors=K)
        print(f"{name}, {len(vectors)} points, {said}: {share:.3f} of the neighbours kept, trustworthiness {trust:.3f}, {seconds:.1f} s")
    positions, _ = lay_out(vectors, "pca")
    print(f"{name}, pca: {kept(vectors, positions, num_sample):.3f}, {trustworthiness(vectors, positions, n_neighbors=K):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--large", type=int, default=1_000_000, help="points of the timed layout; 0 for none")
    told = parser.parse_args()
    if told.lake:
        with open_lake(told.lake, read_only=True) as lake:
            start = time.perf_counter()
            vectors = read_atlas(lake, encoder=None, dataset=None, most=MAX_POINTS, layout="pca").vectors
            print(f"{len(vectors)} frames of the lake: read in {time.perf_counter() - start:.1f} s")
        compare("frames of the lake", vectors[:3000], min(len(vectors), 3000) // 3)
    compare("made points", made(1500), 500)
    if told.large:
        start = time.perf_counter()
        lay_out(made(told.large), "tsne", num_sample=2000)
        print(f"{told.large} made points, 2,000 laid out: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()

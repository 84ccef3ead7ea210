"""How well the atlas places points among a t-SNE sample, against t-SNE of them all, and how long a million takes.

Points are the embedded frames of a lake, and made ones, which wander as frames of videos do. Quality is the share of a placed point's ten
true neighbours that are among its ten on the map, and scikit-learn's trustworthiness. Seconds are of CPU time.

    python -m tests.benchmarks.bench_atlas_layout --lake demo/lake

UMAP is compared with where umap-learn can be imported. It is no dependency: install it into an environment of its own, and name that one's
site-packages in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from flows.atlas.layout import SAMPLE_POINTS, lay_out
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


def by_umap(vectors: Floats) -> Floats:
    """UMAP with its own defaults, of the unit vectors by cosine; with a seed, and so on one core."""
    positions: Floats = import_module("umap").UMAP(metric="cosine", random_state=0).fit_transform(vectors)
    return positions


def compare(name: str, vectors: Floats, num_sample: int) -> None:
    layouts: dict[str, Callable[[], Floats]] = {
        "t-SNE of all": lambda: lay_out(vectors, "tsne", num_sample=len(vectors))[0],
        f"t-SNE of {num_sample}, the rest placed": lambda: lay_out(vectors, "tsne", num_sample=num_sample)[0],
        "principal components": lambda: lay_out(vectors, "pca")[0],
    }
    if find_spec("umap"):
        by_umap(vectors[:200])  # Numba compiles first
        layouts["UMAP of all"] = lambda: by_umap(vectors)
    for said, laid_out in layouts.items():
        start = time.process_time()
        positions = laid_out()
        seconds = time.process_time() - start
        placed, every = kept(vectors, positions, num_sample), kept(vectors, positions, 0)
        trust = trustworthiness(vectors, positions, n_neighbors=K) if len(vectors) <= 5000 else float("nan")
        print(f"{name}, {len(vectors)} points, {said}: {placed:.3f} of the neighbours of placed points kept, {every:.3f} of all")
        print(f"    trustworthiness {trust:.3f}, {seconds:.1f} CPU s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--large", type=int, default=1_000_000, help="points of the timed layout; 0 for none")
    parser.add_argument("--middle", type=int, default=0, help="points of a third comparison, such as 20,000, a map's usual number")
    told = parser.parse_args()
    if told.lake:
        with open_lake(told.lake, read_only=True) as lake:
            start = time.perf_counter()
            vectors = read_atlas(lake, encoder=None, dataset=None, most=MAX_POINTS, layout="pca").vectors
            print(f"{len(vectors)} frames of the lake: read in {time.perf_counter() - start:.1f} s")
        compare("frames of the lake", vectors[:3000], min(len(vectors), 3000) // 3)
    compare("made points", made(1500), 500)
    if told.middle:
        compare("made points", made(told.middle), min(SAMPLE_POINTS, told.middle - 1))
    if told.large:
        start = time.perf_counter()
        lay_out(made(told.large), "tsne", num_sample=2000)
        print(f"{told.large} made points, 2,000 laid out: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()

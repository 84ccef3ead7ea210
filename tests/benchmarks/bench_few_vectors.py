"""How even samples of few vectors are by trees of several shapes, and what degenerate vectors give.

    ENDOFORGE_REAL_DATA=... python tests/benchmarks/bench_few_vectors.py [frames, 415 unless given] [seeds, 3 unless given]

The pool is long-tailed (`curation_pool.py`): frames of CVC-ClinicDB's sequences, Kvasir-SEG and the laparoscopy, each a group,
embedded by the default encoder. A sample's evenness is its entropy over groups, as a share of the maximum; it is given for samples
of a sixteenth to half of the frames. "largest" is the mean share of the frames in the largest cluster of the coarsest level. Trees
of 40 and 8 clusters stand for what a person asks for; the others start from a finest level of a sixth of the frames. The degenerate
inputs are copies of a few points, all points equal, and fewer distinct points than clusters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.clustering import FitSettings, Level, default_num_clusters, fit_kmeans
from curation.clustering.nearest import assign
from curation.clustering.resampling import closest_members
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images
from curation.embedding.encoder import load_encoder
from curation.selection.sample import balanced_sample
from tests.benchmarks.curation_pool import real_pool
from tests.helpers.trees import fit_tree, frame_paths

Floats = npt.NDArray[np.float32]
Tree = list[Level]


def always_resampled(vectors: Floats, num_clusters: tuple[int, ...], *, seed: int) -> Tree:
    """Levels of which each is resampled three times, however few members are kept, two a cluster above the first level."""
    points, levels = vectors, []
    fit = partial(fit_kmeans, rng=np.random.default_rng(seed))
    for k in num_clusters:
        r = int(np.clip(len(points) // (2 * k), 2, 10))
        level = fit(points, FitSettings(k=k))
        for _ in range(3):
            kept = closest_members(level, r)
            if len(kept) < k:
                break
            refit = fit(points[kept], FitSettings(k=k))
            level = Level(refit.centroids, *assign(points, refit.centroids))
        levels.append(level)
        points = level.centroids
    return levels


def by_fours(num_points: int) -> tuple[int, ...]:
    """Four levels in steps of two however few they are, as was the default once."""
    finest = max(1, round(num_points / 6))
    return tuple(k for k in (finest, finest // 2, finest // 4, finest // 8) if k > 1)


def entropy(groups: npt.NDArray[np.int64]) -> float:
    """Entropy of the groups of some frames, in nats."""
    counts = np.bincount(groups)
    shares = counts[counts > 0] / counts.sum()
    return -float((shares * np.log(shares)).sum())


def real(data: Path, num_frames: int, num_seeds: int) -> None:
    pool = real_pool(data, seed=0, largest=round(400 * num_frames / 6200) + 1)
    chosen = np.sort(np.random.default_rng(0).choice(len(pool.jpegs), min(num_frames, len(pool.jpegs)), replace=False))
    vectors = embed_images((pool.jpegs[row] for row in chosen), load_encoder(EmbedConfig()), batch_size=32).astype(np.float32)
    group = np.unique(pool.group[chosen], return_inverse=True)[1]
    most = float(np.log(group.max() + 1))
    sizes = [len(vectors) // part for part in (16, 8, 4, 2)]
    default, former = default_num_clusters(len(vectors)), by_fours(len(vectors))
    trees: dict[str, Callable[..., Sequence[Level]]] = {
        "40, 8: all resampled, as before": partial(always_resampled, vectors, (40, 8)),
        "40, 8: plain": lambda seed: fit_tree(vectors, num_clusters=(40, 8), num_resamples=0, seed=seed),
        "40, 8: now": lambda seed: fit_tree(vectors, num_clusters=(40, 8), seed=seed),
        f"{former}: as before": partial(always_resampled, vectors, former),
        f"{former}: now": lambda seed: fit_tree(vectors, num_clusters=former, seed=seed),
        f"{default}: now's default": lambda seed: fit_tree(vectors, num_clusters=default, seed=seed),
    }
    print(f"{len(vectors)} frames of {group.max() + 1} groups, {num_seeds} seeds: entropy of samples of {sizes}, and largest")
    print(f"{'all frames':44}{entropy(group) / most:7.3f}")
    rng = np.random.default_rng(0)
    drawn = [[entropy(group[rng.choice(len(group), size, replace=False)]) / most for size in sizes] for _ in range(10)]
    print(f"{'random':44}" + "".join(f"{value:7.3f}" for value in np.mean(drawn, axis=0)))
    for name, grown in trees.items():
        rows, largest = [], []
        for seed in range(num_seeds):
            paths = frame_paths(grown(seed=seed))
            draws = np.random.default_rng(seed).integers(1 << 62, size=len(paths))
            samples = [balanced_sample(paths, size, within_leaf="random", draws=draws, seed=seed)[0] for size in sizes]
            rows.append([entropy(group[sample]) / most for sample in samples])
            largest.append(np.bincount(paths[:, -1]).max() / len(paths))
        print(f"{name:44}" + "".join(f"{value:7.3f}" for value in np.mean(rows, axis=0)) + f"{np.mean(largest):9.2f}", flush=True)


def degenerate() -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal((12, 64)).astype(np.float32)
    inputs = {
        "415 copies of 12 points": few[rng.integers(12, size=415)],
        "415 equal points": np.ones((415, 64), np.float32),
        "407 equal points and 8 others": np.concatenate([np.ones((407, 64), np.float32), few[:8]]),
        "41 distinct of 415, as many as clusters and one": rng.standard_normal((41, 64)).astype(np.float32)[np.arange(415) % 41],
    }
    print("\ndegenerate, 40 and 8 clusters: frames in the clusters of level 2, used clusters of level 1, largest distance")
    for name, points in inputs.items():
        levels = fit_tree(points, num_clusters=(40, 8), seed=0)
        paths = frame_paths(levels)
        sizes = np.sort(np.bincount(paths[:, 1], minlength=8))[::-1].tolist()
        print(f"{name:50}{sizes}  {len(np.unique(paths[:, 0]))}  {levels[0].distance.max():.3f}", flush=True)


if __name__ == "__main__":
    num_frames = int(sys.argv[1]) if len(sys.argv) > 1 else 415
    real(Path(os.environ["ENDOFORGE_REAL_DATA"]), num_frames, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    degenerate()

"""Does curation help? A long-tailed pool of known groups sampled in several ways, and models pretrained on the samples, in one run.

    python tests/benchmarks/bench_curation.py [samples | pretrain | pretrain smoke]

Needs ENDOFORGE_REAL_DATA. samples: share of the rarest group, entropy over groups (1 is even), and how many groups and sequences there are
among equally many images, for five seeds. pretrain: the recipe `demo` on a random sample and on ours of a pool of real and phantom frames,
three seeds, scored by k-NN and a linear probe on phantom landmarks of other patients and on real patches of images that are not in the
pool; `smoke` tries the same with a few steps. A budget is images, steps and batch: all three are equal. Differences are of two models of
one seed, and an interval over three of those is wide: it is printed so that nobody reads more into the means than there is.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from curation.clustering import FitSettings, default_num_clusters, fit_kmeans
from curation.dedup.config import DedupConfig
from curation.dedup.dedup_clusters import default_dedup_clusters
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images
from curation.embedding.encoder import load_encoder
from curation.packs.pack import write_pack
from curation.phantom.config import PhantomConfig
from curation.selection.sample import balanced_sample
from curation.shards.dataset_folder import finish_dataset
from curation.shards.plan import MEMBER_SCHEMA, plan_shards
from curation.shards.write import write_shard
from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.run import evaluate_model
from evaluation.tasks import resolve_task
from evaluation.tasks.items import fingerprint
from pretrain.launch import pretrain
from pretrain.recipes import recipe as recipe_named
from tests.benchmarks.curation_pool import Pool, join, phantom_pool, real_pool
from tests.helpers.phantoms import write_evaluation_sets
from tests.helpers.semantic_dedup import semantic_dedup
from tests.helpers.trees import fit_tree, frame_paths

SAMPLE_SEEDS, PRETRAIN_SEEDS = range(5), range(3)
PRETRAIN_IMAGES = 500
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Method = Callable[..., Ints]


def randomly(pool: Pool, vectors: Floats, size: int, *, seed: int) -> Ints:
    """Every frame alike."""
    return np.random.default_rng(seed).choice(len(vectors), size, replace=False)


def per_video(pool: Pool, vectors: Floats, size: int, *, seed: int) -> Ints:
    """As many of each video, as EndoDINO's peers do it."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    turn = np.empty(len(vectors), np.int64)
    for video in range(int(pool.video.max()) + 1):
        members = order[pool.video[order] == video]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")[:size]]


def balanced(paths: npt.NDArray[np.int32], size: int, *, seed: int) -> Ints:
    """As `endoforge curate` draws, at its defaults."""
    draws = np.random.default_rng(seed).integers(1 << 62, size=len(paths))
    return balanced_sample(paths, size, within_leaf="random", draws=draws, seed=seed)[0]


def one_level(pool: Pool, vectors: Floats, size: int, *, seed: int, level: int) -> Ints:
    """Balanced over the clusters of plain k-means, as many as ours has at that level."""
    num_clusters = default_num_clusters(len(vectors))[level]
    clusters = fit_kmeans(vectors, FitSettings(k=num_clusters), rng=np.random.default_rng(seed)).assignment
    return balanced(clusters[:, None], size, seed=seed)


def ours(pool: Pool, vectors: Floats, size: int, *, seed: int, threshold: float | None) -> Ints:
    """What `endoforge curate` does at its defaults."""
    unique = np.arange(len(vectors))
    if threshold is not None:
        found = semantic_dedup(vectors, num_clusters=default_dedup_clusters(len(vectors)), threshold=threshold, seed=seed)
        unique = np.flatnonzero(~found.is_duplicate)
    levels = fit_tree(vectors[unique], num_clusters=default_num_clusters(len(unique)), seed=seed)
    return unique[balanced(frame_paths(levels), size, seed=seed)]


METHODS: dict[str, Method] = {
    "random": randomly,
    "uniform per video": per_video,
    "k-means, one fine level": partial(one_level, level=0),
    "k-means, one coarse level": partial(one_level, level=-1),
    "ours without dedup": partial(ours, threshold=None),
    "ours": partial(ours, threshold=DedupConfig().dedup_threshold),
}


def described(pool: Pool, chosen: Ints) -> tuple[float, ...]:
    """Share of the rarest group in percent, entropy over groups as a share of its maximum, groups, sequences."""
    num_groups = int(pool.group.max()) + 1
    counts = np.bincount(pool.group[chosen], minlength=num_groups)
    shares = counts[counts > 0] / counts.sum()
    entropy = -float((shares * np.log(shares)).sum()) / np.log(num_groups)
    return 100 * counts[-1] / counts.sum(), entropy, int((counts > 0).sum()), len(np.unique(pool.sequence[chosen]))


def embedded(pool: Pool) -> Floats:
    """Unit vectors (n, dim) by the offline encoder."""
    return embed_images(iter(pool.jpegs), load_encoder(EmbedConfig()), batch_size=32).astype(np.float32)


def samples(data: Path) -> None:
    # the number of clusters that ours chooses was settled on the pools of seed 0
    pools = {
        "real: 29 CVC sequences, 40 Kvasir images, laparoscopy": (real_pool(data, seed=1), 350),
        "phantom: nine stations": (phantom_pool(seed=1), 60),
    }
    for title, (pool, size) in pools.items():
        vectors = embedded(pool)
        whole = described(pool, np.arange(len(vectors)))
        print(f"\n{title}: {size} of {len(vectors)} frames, five seeds, mean and standard deviation")
        print(f"{'':28}{'rarest %':>16}{'entropy':>16}{'groups':>14}{'sequences':>14}")
        print(f"{'the pool itself':28}{whole[0]:10.2f}{'':6}{whole[1]:10.3f}{'':6}{whole[2]:8.0f}{'':6}{whole[3]:8.0f}")
        entropies: dict[str, float] = {}
        for name, method in METHODS.items():
            rows = np.array([described(pool, method(pool, vectors, size, seed=seed)) for seed in SAMPLE_SEEDS])
            mean, spread = rows.mean(axis=0), rows.std(axis=0, ddof=1)
            entropies[name] = mean[1]
            cells = [f"{mean[0]:10.2f} ±{spread[0]:4.2f}", f"{mean[1]:10.3f} ±{spread[1]:.3f}"]
            cells += [f"{mean[column]:8.1f} ±{spread[column]:4.1f}" for column in (2, 3)]
            print(f"{name:28}{cells[0]:16}{cells[1]:>16}{cells[2]:>14}{cells[3]:>14}", flush=True)
        others = max(value for name, value in entropies.items() if not name.startswith("ours"))
        print(f"entropy of ours over the best of the others: {entropies['ours'] / others:.3f}")


def shards_of(pool: Pool, chosen: Ints, root: Path) -> Path:
    """A dataset of the chosen frames, as pretraining reads it."""
    frames = [(f"{pool.video[place]:064d}-{place:012d}", pool.jpegs[place]) for place in np.sort(chosen)]
    place_and_size = {"crop_x": 0, "crop_y": 0, "crop_width": 256, "crop_height": 256, "width": 256, "height": 256}
    rows = [
        {
            "frame_id": entry.frame_id,
            "video_id": entry.frame_id[:64],
            "pack_path": "pack.tar",
            "byte_offset": entry.byte_offset,
            "byte_size": entry.byte_size,
            "pts_us": 0,
            "cluster_path": [0],
            **place_and_size,
        }
        for entry in write_pack(root / "pack.tar", frames).entries
    ]
    members = pa.Table.from_pylist(rows, schema=MEMBER_SCHEMA)
    plans = plan_shards(members, name="sample", images_per_shard=100, min_shards=1, seed=0, lake_root=str(root))
    written = [write_shard(plan, lake_root=str(root)) for plan in plans]
    return root / finish_dataset(plans, written, selection_id="sample", lake_root=str(root)).path


def test_images(data: Path) -> frozenset[str]:
    """Those whose patches are scored: they must not be trained on."""
    with (data / "splits" / "patch_polyp_vs_mucosa.csv").open() as file:
        return frozenset(row["path"] for row in csv.DictReader(file) if row["split"] != "train")


def pretraining(data: Path, recipe_name: str) -> None:
    recipe = recipe_named(recipe_name)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        pool = join(real_pool(data, seed=1, without=test_images(data)), phantom_pool(seed=1))
        vectors = embedded(pool)
        _, entropy, groups, sequences = described(pool, np.arange(len(vectors)))
        print(f"the pool: {len(vectors)} images, entropy {entropy:.3f}, {groups:.0f} groups, {sequences:.0f} sequences")
        evaluation = PhantomConfig(num_train_videos=16, num_eval_patients=32, size=224, seed=9)
        write_evaluation_sets(root / "phantom", config=evaluation)
        tasks = [resolve_task("auto", root / "phantom" / "landmarks"), resolve_task("patch_polyp_vs_mucosa", data)]
        identities = [fingerprint(task) for task in tasks]
        rows: dict[str, list[list[float]]] = {}

        def scored(folder: Path, label: str, weights: Literal["trained", "random"], seed: int) -> None:
            model = ModelRef(model_id=f"{label} {seed}", label=label, path=str(folder), weights=weights)
            values = []
            for task, identity in zip(tasks, identities, strict=True):
                found = evaluate_model(
                    model, task=task, identity=identity, config=EvaluateConfig(seed=seed), cache_dir=str(root / f"scores {label} {seed}")
                )
                values += [s.value for s in found if s.metric == "balanced_accuracy" and s.head in ("knn", "linear")]
            rows.setdefault(label, []).append(values)
            print(f"{label:20} seed {seed}  " + "  ".join(f"{value:.3f}" for value in values), flush=True)

        print("balanced accuracy: phantom landmarks k-NN, linear; real patches k-NN, linear")
        for seed in PRETRAIN_SEEDS:
            for name in ("random", "ours"):
                chosen = METHODS[name](pool, vectors, PRETRAIN_IMAGES, seed=seed)
                _, entropy, groups, sequences = described(pool, chosen)
                print(f"{name}: {len(chosen)} images, entropy {entropy:.3f}, {groups:.0f} groups, {sequences:.0f} sequences")
                folder = root / f"{name} {seed}"
                result = pretrain(
                    replace(recipe, train=replace(recipe.train, seed=seed)),
                    dataset_dir=shards_of(pool, chosen, folder),
                    run_dir=folder / "run",
                    run_id=f"{name}-{seed}",
                    validate=None,
                    backend="local",
                )
                exported = Path(result.checkpoints[-1].path)
                if name == "random":
                    scored(exported, "random weights", "random", seed)
                scored(exported, f"on {name}", "trained", seed)
        print(f"\nmean and standard deviation over {len(PRETRAIN_SEEDS)} seeds")
        scores = {label: np.array(found) for label, found in rows.items()}
        scores["ours less random"] = scores["on ours"] - scores["on random"]
        for label, values in scores.items():
            means, spreads = values.mean(0), values.std(0, ddof=1)
            print(f"{label:20} " + "  ".join(f"{mean:6.3f} ±{spread:.3f}" for mean, spread in zip(means, spreads, strict=True)))
        # Student's t for a 95% interval over three pairs is 4.303
        margins = 4.303 * scores["ours less random"].std(0, ddof=1) / np.sqrt(len(PRETRAIN_SEEDS))
        print(f"{'95% interval of that':20} " + "  ".join(f"      ±{margin:.3f}" for margin in margins))


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["samples", "pretrain"]
    real = os.environ.get("ENDOFORGE_REAL_DATA")
    if real is None:
        raise SystemExit("set ENDOFORGE_REAL_DATA to the folder of real data")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    if "samples" in wanted:
        samples(Path(real))
    if "pretrain" in wanted:
        pretraining(Path(real), next((word for word in wanted if word in ("smoke", "demo")), "demo"))

"""Do chosen labels teach more than random ones? A linear probe on N labels, chosen by us, at random and uniformly per video.

    python tests/benchmarks/bench_select_for_labels.py [phantom] [patches] [--sizes 20 50 100 200 500] [--seeds 5] [--pool-seed 1]

`phantom` needs no data: stations of a long-tailed pool (the largest a hundred times the smallest), tested on landmarks of other patients.
`patches` needs ENDOFORGE_REAL_DATA: polyp or mucosa, train and val as the pool, tested on the test split, whose sequences are others.
Vectors are of the offline encoder. Ours works in rounds, as `endoforge select-for-labels --given` does: 20 labels, then 30 more, and so on.
The probe that judges is fitted on all labels of a round. Five seeds choose; mean and standard deviation of macro F1, and of the recall of
the class that is rarest in the pool. Peak memory is the vectors, a few hundred MB.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score

from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images
from curation.embedding.encoder import load_encoder
from curation.phantom.config import PhantomConfig
from curation.selection import choose_for_labels
from evaluation.tasks import read_rows, resolve_task
from evaluation.uncertainty import label_uncertainty
from tests.benchmarks.curation_pool import phantom_pool
from tests.helpers.phantoms import write_evaluation_sets

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A pool to choose from and a test set of other patients."""

    title: str
    vectors: Floats
    labels: npt.NDArray[np.str_]
    video: Ints
    test: Floats
    test_labels: npt.NDArray[np.str_]

    @property
    def rarest(self) -> str:
        """The class with the fewest points in the pool."""
        names, counts = np.unique(self.labels, return_counts=True)
        return str(names[np.argmin(counts)])


def randomly(bench: Bench, before: Ints, size: int, seed: int) -> Ints:
    """Every point alike; a larger sample holds the smaller ones."""
    return np.random.default_rng(seed).permutation(len(bench.labels))[:size]


def per_video(bench: Bench, before: Ints, size: int, seed: int) -> Ints:
    """As many of each video."""
    order = np.random.default_rng(seed).permutation(len(bench.labels))
    turn = np.empty(len(order), np.int64)
    for video in np.unique(bench.video):
        members = order[bench.video[order] == video]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")[:size]]


def typical_only(bench: Bench, before: Ints, size: int, seed: int) -> Ints:
    """The first round of ours, with all labels at once."""
    nothing = np.zeros(len(bench.labels), bool)
    return choose_for_labels(bench.vectors, size, is_labelled=nothing, uncertainty=None, seed=seed).rows


def ours(bench: Bench, before: Ints, size: int, seed: int) -> Ints:
    """A round of `endoforge select-for-labels`."""
    is_labelled = np.zeros(len(bench.labels), bool)
    is_labelled[before] = True
    said = bench.labels[is_labelled].tolist()
    uncertainty = label_uncertainty(bench.vectors[is_labelled], said, bench.vectors)
    chosen = choose_for_labels(bench.vectors, size - len(before), is_labelled=is_labelled, uncertainty=uncertainty, seed=seed)
    return np.concatenate([before, chosen.rows])


METHODS: dict[str, Callable[[Bench, Ints, int, int], Ints]] = {
    "random": randomly,
    "uniform per video": per_video,
    "typical alone": typical_only,
    "ours": ours,
}


def scored(bench: Bench, rows: Ints) -> tuple[float, float]:
    """Macro F1 and recall of the rarest class on the test set, of a probe on the labels of some rows."""
    mean, deviation = bench.vectors.mean(axis=0), bench.vectors.std(axis=0) + 1e-6
    probe = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=200)
    probe.fit((bench.vectors[rows] - mean) / deviation, bench.labels[rows])
    predicted = probe.predict((bench.test - mean) / deviation)
    recall = recall_score(bench.test_labels, predicted, labels=[bench.rarest], average="macro", zero_division=0)
    return float(f1_score(bench.test_labels, predicted, average="macro", zero_division=0)), float(recall)


def curve(bench: Bench, *, sizes: tuple[int, ...], num_seeds: int) -> None:
    """Print the table and the ratios to random."""
    started = time.process_time()
    names, counts = np.unique(bench.labels, return_counts=True)
    print(
        f"\n{bench.title}: {len(bench.labels)} in the pool ({', '.join(map(str, sorted(counts, reverse=True)))} of {len(names)} classes),"
    )
    whole = scored(bench, np.arange(len(bench.labels)))
    print(f"{len(bench.test_labels)} to test; with all labels macro F1 {whole[0]:.3f}, recall of {bench.rarest} {whole[1]:.3f}")
    print(f"{'':20}" + "".join(f"{f'{size} labels':>16}" for size in sizes))
    means: dict[str, npt.NDArray[np.float64]] = {}
    for name, method in METHODS.items():
        rows = np.zeros((num_seeds, len(sizes), 2))
        for seed in range(num_seeds):
            chosen = np.empty(0, np.int64)
            for number, size in enumerate(sizes):
                chosen = method(bench, chosen, size, seed)
                assert len(set(chosen.tolist())) == size
                rows[seed, number] = scored(bench, chosen)
        means[name] = rows.mean(axis=0)
        for column, what in enumerate(("macro F1", "rarest recall")):
            cells = zip(means[name][:, column], rows[:, :, column].std(axis=0, ddof=1), strict=True)
            title = name if not column else f"  {what}"
            print(f"{title:20}" + "".join(f"{f'{mean:.3f} ±{spread:.3f}':>16}" for mean, spread in cells), flush=True)
    for column, what in enumerate(("macro F1", "rarest recall")):
        ratios = means["ours"][:, column] / np.maximum(means["random"][:, column], 1e-9)
        print(f"{f'ours/random {what}':20}"[:28] + "".join(f"{ratio:12.2f}" for ratio in ratios))
    print(f"{time.process_time() - started:.0f} CPU seconds for the choices and probes")


def phantom(seed: int) -> Bench:
    """Stations of a long-tailed pool, and landmarks of patients that are not in it."""
    pool = phantom_pool(seed=seed)
    config = PhantomConfig(num_train_videos=12, num_eval_patients=16, size=224, images_per_grade=1, polyps_per_patient=1, seed=seed)
    encoder = load_encoder(EmbedConfig())
    with tempfile.TemporaryDirectory() as folder:
        write_evaluation_sets(Path(folder), config=config)
        rows, roles = read_rows(Path(folder) / "landmarks" / "labels.csv")
        pictures = [(Path(folder) / "landmarks" / row[roles["path"]]).read_bytes() for row in rows]
        test = embed_images(iter(pictures), encoder, batch_size=32).astype(np.float32)
    return Bench(
        title=f"phantom stations, pool {seed}",
        vectors=embed_images(iter(pool.jpegs), encoder, batch_size=32).astype(np.float32),
        labels=np.array(pool.names)[pool.group],
        video=pool.video,
        test=test,
        test_labels=np.array([row[roles["label"]] for row in rows]),
    )


def patches(data: Path) -> Bench:
    """Polyp or mucosa; a video is a sequence, or an image that belongs to none."""
    task = resolve_task("patch_polyp_vs_mucosa", data)
    crops = []
    for item in task.items:
        x, y, w, h = item.box or (0, 0, 0, 0)
        crops.append(bytes(cv2.imencode(".png", np.asarray(cv2.imread(item.path))[y : y + h, x : x + w])[1]))
    vectors = embed_images(iter(crops), load_encoder(EmbedConfig()), batch_size=32).astype(np.float32)
    is_test = np.array([item.split == "test" for item in task.items])
    labels = np.array([str(item.label) for item in task.items])
    video = np.unique([item.group for item in task.items], return_inverse=True)[1]
    return Bench(
        title="real patches, polyp or mucosa",
        vectors=vectors[~is_test],
        labels=labels[~is_test],
        video=video[~is_test],
        test=vectors[is_test],
        test_labels=labels[is_test],
    )


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser = argparse.ArgumentParser(description="The curve of chosen labels against random ones.")
    parser.add_argument("pools", nargs="*", choices=("phantom", "patches"), help="both unless given")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100, 200, 500], help="labels of each round, all so far")
    parser.add_argument("--seeds", type=int, default=5, help="choices for each method, seeds from 0 on")
    parser.add_argument("--pool-seed", type=int, default=1, help="of the phantom pool")
    told = parser.parse_args()
    pools = told.pools or ["phantom", "patches"]
    real = os.environ.get("ENDOFORGE_REAL_DATA")
    if "patches" in pools and real is None:
        raise SystemExit("set ENDOFORGE_REAL_DATA to the folder of real data, or run with the word phantom")
    if "phantom" in pools:
        curve(phantom(told.pool_seed), sizes=tuple(told.sizes), num_seeds=told.seeds)
    if "patches" in pools:
        curve(patches(Path(str(real))), sizes=tuple(told.sizes), num_seeds=told.seeds)

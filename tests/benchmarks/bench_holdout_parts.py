"""How surely small parts of held-out pictures are found: crops to 60% and 40% of each side, and pictures inset in another frame.

Usage: ENDOFORGE_REAL_DATA=... python tests/benchmarks/bench_holdout_parts.py [pictures a source, 60 unless given] [share of the
pictures that are held out and of those that are not, 1 unless given]

Held out are pictures of two sources: 200 of Kvasir-SEG, and the frames of every other sequence of CVC-ClinicDB.
The pool is parts of them at places drawn at random. For each change the table gives the share found, and the step at which the others
were lost: not retrieved (no view of the picture is near by hash or by embedding), not compared (others were nearer), not verified (the
pictures, laid over each other, do not correlate). Last come the false finds among pictures of nothing that is held out.
`bench_holdout.py` has the other changes.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from curation.holdout.search import in_turns
from curation.holdout.verify_copy import compare, features_of
from curation.holdout.views import View, cut_out, shared_areas, view_hash
from tests.benchmarks.bench_holdout import (
    CORRELATION,
    DATA,
    HASH_BITS,
    MOST_COMPARED,
    NUM_VIEWS_NEAR,
    Embedder,
    Floats,
    HeldOut,
    cropped,
    jpeg,
    picture,
    rows_of,
)

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def inset(rgb: np.ndarray, host: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture at 30 to 50% of the host's height, somewhere in the host."""
    scale = rng.uniform(0.3, 0.5) * host.shape[0] / rgb.shape[0]
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    shown = host.copy()
    y, x = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(host.shape[:2], small.shape[:2], strict=True))
    shown[y : y + small.shape[0], x : x + small.shape[1]] = small
    return shown


CHANGES: dict[str, Change] = {
    "cropped to 60% of each side": lambda rgb, host, rng: cropped(rgb, 0.6, rng),
    "cropped to 50%": lambda rgb, host, rng: cropped(rgb, 0.5, rng),
    "cropped to 40%": lambda rgb, host, rng: cropped(rgb, 0.4, rng),
    "cropped to 60%, JPEG quality 50": lambda rgb, host, rng: jpeg(cropped(rgb, 0.6, rng), 50),
    "inset at 30 to 50%": inset,
}


def fate(held: HeldOut, own: int, content: View, vector: Floats) -> tuple[str, float]:
    """What becomes of a part of picture `own`, as `curation.holdout.find` goes about it, and its correlation with that picture."""
    cosine = held.vectors @ vector
    bits = np.bitwise_count(held.hashes ^ np.uint64(view_hash(content)))
    alike = [int(view) for view in np.argsort(bits, kind="stable")[:NUM_VIEWS_NEAR] if bits[view] <= HASH_BITS]
    near = [int(view) for view in np.argsort(-cosine)[:NUM_VIEWS_NEAR] if cosine[view] >= held.similarity]
    by_embedding, by_hash = ([(int(held.owner[view]), held.flips[view]) for view in views] for views in (near, alike))
    keys = in_turns(by_embedding, by_hash)[:MOST_COMPARED]
    features = features_of(content.rgb)
    correlations = {key: compare(features, held.features[key]).correlation for key in {*keys, (own, None)}}
    direct = correlations[own, None]
    if any(correlations[key] >= CORRELATION for key in keys):
        return "found", direct
    if own in (key[0] for key in keys):
        return "not verified", direct
    of_own = held.owner == own
    within = (cosine[of_own] >= held.similarity).any() or (bits[of_own] <= HASH_BITS).any()
    return "not compared" if within else "not retrieved", direct


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    step = max(1, round(1 / float(sys.argv[2]))) if len(sys.argv) > 2 else 1
    cv2.setNumThreads(1)
    embedder = Embedder()
    with (DATA / "splits" / "cvc_clinicdb_sequences.csv").open() as file:
        sequence = {row["file"]: int(row["sequence"]) for row in csv.DictReader(file)}
    cvc = [DATA / "cvc_clinicdb" / "images" / name for name in sequence if sequence[name] % 2 == 0][::step]
    kvasir = sorted((DATA / "kvasir_seg" / "images").iterdir())[1 :: 5 * step]
    strangers = [DATA / "cvc_clinicdb" / "images" / name for name in sequence if sequence[name] % 2 == 1][::step]
    strangers += sorted((DATA / "kvasir_seg" / "images").iterdir())[:: 2 * step]
    others = [picture(path) for path in sorted((DATA / "kvasir_seg" / "images").iterdir())[::25]]
    fates = ("found", "not retrieved", "not compared", "not verified")
    for source, paths in {"Kvasir-SEG": kvasir, "CVC-ClinicDB": cvc}.items():
        rng = np.random.default_rng(0)
        pictures = [picture(path) for path in paths]
        start = time.process_time()
        held = HeldOut(pictures, embedder)
        each = (time.process_time() - start) / len(pictures)
        print(f"\n{source}: {len(pictures)} pictures as {len(held.flips)} views, {1e3 * each:.0f} ms of one core each; ", end="")
        print(f"compared from cosine {held.similarity:.3f} or {HASH_BITS} bits")
        print(f"{'':34}{'n':>4}" + "".join(f"{name:>15}" for name in fates) + f"{'verifiable':>13}")
        chosen = rng.choice(len(pictures), min(wanted, len(pictures)), replace=False)
        for name, change in CHANGES.items():
            copies = [change(pictures[own], others[int(rng.integers(len(others)))], rng) for own in chosen]
            areas = shared_areas(copies)
            stored = [cut_out(rgb, areas[rgb.shape]) for rgb in copies]
            vectors = embedder.vectors(view.rgb for view in stored)
            ends = [fate(held, int(own), view, vector) for own, view, vector in zip(chosen, stored, vectors, strict=True)]
            shares = "".join(f"{np.mean([end == other for end, _ in ends]):>15.3f}" for other in fates)
            verifiable = np.mean([direct >= CORRELATION for _, direct in ends])
            print(f"{name:34}{len(ends):>4}{shares}{verifiable:>13.3f}", flush=True)
        if source == "CVC-ClinicDB":
            start = time.process_time()
            rows = rows_of(held, [picture(path) for path in strangers], embedder)
            each = (time.process_time() - start) / len(rows)
            print(f"false finds: {np.sum(rows[:, 0] >= CORRELATION)} of {len(rows)}, highest correlation {rows[:, 0].max():.2f}, ", end="")
            print(f"{rows[:, 4].mean():.2f} of them compared, {1e3 * each:.0f} ms of one core each")


if __name__ == "__main__":
    main()

"""How surely copies of held-out pictures are found in a pool, however they were changed, and how often something else is taken for one.

Usage: ENDOFORGE_REAL_DATA=... python tests/benchmarks/bench_holdout.py [share of the pictures, 1 unless given]

Held out are the frames of every other sequence of CVC-ClinicDB. The pool is copies of them, each changed in one of the ways below, with the
other sequences, Kvasir-SEG and a laparoscopy as what must stay. Pool pictures go through ingest's own steps (the content area that the
pictures of a folder share, crop, mask, hash, JPEG) and the lake's default encoder. The held-out sequences are halved: thresholds are chosen
on one half, recall is published of the other. Another frame of a held-out sequence shows the same polyp, so a match with it is a find, and
only pictures of nothing held out count as false. Shares are given by kind of match: retrieved by hash or by embedding, then verified; and
held-out clips are looked for by name, by content and by patient. Then the published train and test lists of Endo-FM's "CVC-12k" are
compared as if the test list were held out (`bench_split_leaks.py` does that, and other splits, through the command line).

Limits named beside the figures: what hash alone (10 bits) and embedding alone (cosine at no false find on the first half) reach.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images
from curation.embedding.encoder import load_encoder
from curation.holdout.list import read_holdout
from curation.holdout.names import KnownVideo, named_videos
from curation.holdout.search import in_turns, retrieval_similarity
from curation.holdout.verify_copy import Features, compare, features_of
from curation.holdout.views import View, cut_out, probes_of, shared_areas, stored_picture, view_hash, views_of
from warehouse.store import file_sha256

DATA = Path(os.environ.get("ENDOFORGE_REAL_DATA", "."))
CORRELATION, HASH_BITS, NUM_VIEWS_NEAR, MOST_COMPARED, FILES_PER_BATCH = 0.4, 10, 24, 10, 64  # as curation/holdout_*.py have them
Floats = npt.NDArray[np.float32]


def picture(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def scaled(rgb: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC))


def cropped(rgb: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    height, width = (round(side * share) for side in rgb.shape[:2])
    y, x = int(rng.integers(0, rgb.shape[0] - height + 1)), int(rng.integers(0, rgb.shape[1] - width + 1))
    return np.ascontiguousarray(rgb[y : y + height, x : x + width])


def turned(rgb: np.ndarray, degrees: float) -> np.ndarray:
    height, width = rgb.shape[:2]
    return np.asarray(cv2.warpAffine(rgb, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height)))


def lit(rgb: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.asarray(cv2.convertScaleAbs(rgb, alpha=gain, beta=offset))


def without_text(rgb: np.ndarray) -> np.ndarray:
    """Blacked out where endoscopes write: as ingest leaves a frame with four fields of text."""
    hidden, (height, width) = rgb.copy(), rgb.shape[:2]
    for x, y, w, h in ((0.03, 0.3, 0.2, 0.06), (0.03, 0.4, 0.15, 0.06), (0.05, 0.8, 0.3, 0.07), (0.7, 0.1, 0.25, 0.06)):
        hidden[round(y * height) : round((y + h) * height), round(x * width) : round((x + w) * width)] = 0
    return hidden


CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "unchanged": lambda rgb, rng: rgb,
    "JPEG quality 30": lambda rgb, rng: jpeg(rgb, 30),
    "JPEG quality 60": lambda rgb, rng: jpeg(rgb, 60),
    "JPEG quality 95": lambda rgb, rng: jpeg(rgb, 95),
    "rescaled 0.5": lambda rgb, rng: scaled(rgb, 0.5),
    "rescaled 1.5": lambda rgb, rng: scaled(rgb, 1.5),
    "cropped to 85% of each side": lambda rgb, rng: cropped(rgb, 0.85, rng),
    "cropped to 70%": lambda rgb, rng: cropped(rgb, 0.7, rng),
    "cropped to 50%": lambda rgb, rng: cropped(rgb, 0.5, rng),
    "black borders": lambda rgb, rng: np.asarray(cv2.copyMakeBorder(rgb, 40, 40, 120, 60, cv2.BORDER_CONSTANT)),
    "brighter": lambda rgb, rng: lit(rgb, 1.3, 25),
    "darker": lambda rgb, rng: lit(rgb, 0.5, 0),
    "less contrast": lambda rgb, rng: lit(rgb, 0.6, 40),
    "colour shift": lambda rgb, rng: np.clip(rgb * np.array([1.1, 0.9, 0.7]), 0, 255).astype(np.uint8),
    "text blacked out": lambda rgb, rng: without_text(rgb),
    "turned 10 degrees": lambda rgb, rng: turned(rgb, 10),
    "mirrored": lambda rgb, rng: np.ascontiguousarray(rgb[:, ::-1]),
    "upside down": lambda rgb, rng: np.ascontiguousarray(rgb[::-1]),
    "turned 90 degrees": lambda rgb, rng: np.ascontiguousarray(np.rot90(rgb)),
    "JPEG 50, 0.7, crop 85%, brighter": lambda rgb, rng: jpeg(scaled(lit(cropped(rgb, 0.85, rng), 1.2, 10), 0.7), 50),
}


def h264(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pictures as the frames of one H.264 clip of crf 32, decoded again."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w") as container:
            stream = container.add_stream("libx264", rate=5, options={"crf": "32", "preset": "veryfast"})
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for rgb in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))
            container.mux(stream.encode(None))
        with av.open(file.name) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class Embedder:
    """Pictures to vectors as ingest and embed make them."""

    def __init__(self) -> None:
        self.encoder = load_encoder(EmbedConfig())

    def vectors(self, pictures: Iterator[np.ndarray]) -> Floats:
        data = (cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes() for rgb in pictures)
        return embed_images(data, self.encoder, batch_size=32).astype(np.float32)


class HeldOut:
    """Pictures as a hold-out prepares them, and the search among them."""

    def __init__(self, pictures: Sequence[np.ndarray], embedder: Embedder) -> None:
        rng = np.random.default_rng(0)
        all_views: list[View] = []
        owners, probes, probed = [], [], []
        self.features: dict[tuple[int, int | None], Features] = {}
        stored = [stored_picture(rgb) for rgb in pictures]
        areas = [shared_areas(stored[start : start + FILES_PER_BATCH]) for start in range(0, len(stored), FILES_PER_BATCH)]
        for number, rgb in enumerate(stored):
            views = views_of(rgb, areas[number // FILES_PER_BATCH][rgb.shape])
            owners += [number] * len(views)
            all_views += views
            if number % 8 == 0:
                probes += (altered := probes_of(views[0], rng=rng))
                probed += [number] * len(altered)
            for view in views[:4]:
                self.features[number, view.flip] = features_of(view.rgb)
        self.owner = np.array(owners)
        self.flips = [view.flip for view in all_views]
        self.hashes = np.array([view_hash(view) for view in all_views], np.uint64)
        self.vectors = embedder.vectors(view.rgb for view in all_views)
        near = embedder.vectors(iter(probes)) @ self.vectors.T
        self.similarity = retrieval_similarity([float(row[self.owner == own].max()) for row, own in zip(near, probed, strict=True)])

    def search(self, content: View, vector: Floats) -> tuple[float, int, float, int, bool]:
        """Correlation, bits, cosine, the held-out picture it is likest, and whether pictures were compared."""
        cosine = self.vectors @ vector
        bits = np.bitwise_count(self.hashes ^ np.uint64(view_hash(content)))
        alike = [int(view) for view in np.argsort(bits, kind="stable")[:NUM_VIEWS_NEAR] if bits[view] <= HASH_BITS]
        near = [int(view) for view in np.argsort(-cosine)[:NUM_VIEWS_NEAR] if cosine[view] >= self.similarity]
        by_embedding, by_hash = ([(int(self.owner[view]), self.flips[view]) for view in views] for views in (near, alike))
        keys = in_turns(by_embedding, by_hash)[:MOST_COMPARED]
        best, found = 0.0, -1
        own = features_of(content.rgb) if keys else None
        for key in keys:
            assert own is not None
            correlation = compare(own, self.features[key]).correlation
            if correlation > best:
                best, found = correlation, key[0]
            if best >= 0.85:
                break
        return best, int(bits.min()), float(cosine.max()), found, bool(keys)


def rows_of(held: HeldOut, pictures: Sequence[np.ndarray], embedder: Embedder) -> npt.NDArray[np.float64]:
    areas = shared_areas(pictures)
    stored = [cut_out(rgb, areas[rgb.shape]) for rgb in pictures]
    vectors = embedder.vectors(view.rgb for view in stored)
    return np.array([held.search(view, vector) for view, vector in zip(stored, vectors, strict=True)], np.float64)


COLUMNS = f"{'found':>9}{'by hash':>10}{'by embedding':>14}{'hash only':>11}{'emb. only':>11}{'retrieved':>11}{'verified':>10}"


def by_kind(rows: npt.NDArray[np.float64], similarity: float) -> str:
    """Shares: found (retrieved and verified); of these by kind; retrieved by one alone, by either; verified of what was retrieved.

    "by hash" is what the lake calls a perceptual match: found, and within reach of the hash; "by embedding" every other find.
    """
    alike, near, found = rows[:, 1] <= HASH_BITS, rows[:, 2] >= similarity, rows[:, 0] >= CORRELATION
    compared = alike | near
    verified = found[compared].mean() if compared.any() else float("nan")
    shares = [(found & alike).mean(), (found & ~alike).mean(), (alike & ~near).mean(), (near & ~alike).mean(), compared.mean(), verified]
    widths = (10, 14, 11, 11, 11, 10)
    return f"{found.mean():>9.4f}" + "".join(f"{share:>{width}.4f}" for share, width in zip(shares, widths, strict=True))


def by_name() -> None:
    """Hold out half of the clips by name, by content and by patient, and ask which of the clips that names."""
    clips = sorted((DATA / "videos" / "colonoscopy").iterdir())
    held = clips[::2]
    patients = {path: f"{number % 2}{number:031x}" for number, path in enumerate(clips)}
    known = [
        KnownVideo(
            video_id=file_sha256(path), uris=(f"file:///moved/{path.name}",), patient_ids=frozenset([patients[path]]), is_stills=False
        )
        for path in clips
    ]
    anonymous = [replace(video, uris=(f"file:///moved/{number}.mkv",)) for number, video in enumerate(known)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tables = {
            "video name": ("video", [path.name for path in held], [replace(video, video_id="0") for video in known]),
            "video name without suffix": ("video", [path.stem for path in held], [replace(video, video_id="0") for video in known]),
            "video content, renamed": ("path", [str(path) for path in held], anonymous),
            "patient": ("patient", [patients[path] for path in held], anonymous),
        }
        print(f"{'by name: recall of, and false finds':<46}{'recall':>9}{'false':>10}   n")
        for name, (column, values, videos) in tables.items():
            (folder / "held.csv").write_text("\n".join([column, *values]) + "\n")
            listed = read_holdout([str(folder / "held.csv")], None)
            found = [bool(named_videos([video], listed)) for video in videos]
            print(f"  {name:<44}{np.mean(found[::2]):>9.3f}{np.mean(found[1::2]):>10.3f}{len(clips):>5}")


def main() -> None:
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    cv2.setNumThreads(1)
    step = max(1, round(1 / share))
    rng = np.random.default_rng(0)
    with (DATA / "splits" / "cvc_clinicdb_sequences.csv").open() as file:
        sequence = {row["file"]: int(row["sequence"]) for row in csv.DictReader(file)}
    images = {name: picture(DATA / "cvc_clinicdb" / "images" / name) for name in sequence}
    held_names = [name for name in sequence if sequence[name] % 2 == 0]
    embedder = Embedder()
    start = time.process_time()
    held = HeldOut([images[name] for name in held_names], embedder)
    each = (time.process_time() - start) / len(held_names)
    print(f"{len(held_names)} pictures held out as {len(held.flips)} views, {1e3 * each:.0f} ms of one core each")
    print(f"pictures are compared from cosine {held.similarity:.3f} (calibrated) or {HASH_BITS} bits")

    copied = held_names[:: 4 * step]
    first_half = np.array([sequence[name] % 4 == 0 for name in copied])
    results: dict[str, npt.NDArray[np.float64]] = {}
    for name, change in CHANGES.items():
        results[name] = rows_of(held, [change(images[own], rng) for own in copied], embedder)
    results["H.264 crf 32"] = rows_of(held, h264([images[own] for own in copied]), embedder)

    others = [name for name in sequence if sequence[name] % 2 == 1][::step]
    kvasir = sorted((DATA / "kvasir_seg" / "images").iterdir())[:: 2 * step]
    laparoscopy = []
    with av.open(str(DATA / "videos" / "laparoscopy" / "rvimlab_endo.mp4")) as container:
        laparoscopy = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:: 5 * step]
    start = time.process_time()
    negative = {
        "other CVC sequences": rows_of(held, [images[name] for name in others], embedder),
        "Kvasir-SEG": rows_of(held, [picture(path) for path in kvasir], embedder),
        "laparoscopy": rows_of(held, laparoscopy, embedder),
    }
    num_negative = sum(map(len, negative.values()))
    each = (time.process_time() - start) / num_negative
    everything = np.concatenate(list(negative.values()))
    halves = np.arange(len(everything)) % 2 == 0
    fitted = np.concatenate([rows[first_half] for rows in results.values()])
    highest, lowest = everything[halves, 0].max(), np.quantile(fitted[:, 0], 0.01)
    print(f"correlation on the first half: highest of {halves.sum()} others {highest:.2f}, 1% of copies lie below {lowest:.2f}; ", end="")
    print(f"threshold {CORRELATION}")
    cosine_limit = everything[halves, 2].max()
    print(f"\n{'on the other half: recall of copies that were':<46}{COLUMNS}{'no false':>10}   n")
    for name, rows in results.items():
        rows = rows[~first_half]
        print(f"  {name:<44}{by_kind(rows, held.similarity)}{(rows[:, 2] > cosine_limit).mean():>10.3f}{len(rows):>5}")
    every = np.concatenate([rows[~first_half] for rows in results.values()])
    print(f"  {'all of them':<44}{by_kind(every, held.similarity)}{(every[:, 2] > cosine_limit).mean():>10.3f}{len(every):>5}")
    print(f"no false: cosine above {cosine_limit:.3f}, the highest of the first half of what is no copy, and nothing verified")
    print(f"{'false finds among':<46}{COLUMNS}{'':>10}   n")
    for name, rows in (negative | {"all of them": everything}).items():
        print(f"  {name:<44}{by_kind(rows, held.similarity)}{'':>10}{len(rows):>5}")
    by_name()
    print(f"a frame that is no copy costs {1e3 * each:.0f} ms of one core, its embedding included")
    published_split(images, sequence, embedder, step)


def published_split(images: dict[str, np.ndarray], sequence: dict[str, int], embedder: Embedder, step: int) -> None:
    """Hold out the published test list and look for it in the published train list."""
    names = list(sequence)
    lists: dict[str, list[tuple[int, str]]] = {"train": [], "test": []}
    with (DATA / "splits" / "cvc_clinicdb_endofm_published.csv").open() as file:
        for row in csv.DictReader(file):
            first = int(row["first_frame"])
            lists[row["split"]] += [(first, name) for name in names[first - 1 : first - 1 + int(row["num_frames"])]]
    held = HeldOut([images[name] for _, name in lists["test"]], embedder)
    train = lists["train"][::step]
    rows = rows_of(held, [images[name] for _, name in train], embedder)
    found = rows[:, 0] >= CORRELATION
    ranges = {lists["test"][int(row[3])][0] for row in rows[found]}
    tested = {name for _, name in lists["test"]}
    really = np.array([name in tested for _, name in train])
    print(
        f'\nEndo-FM\'s published "CVC-12k": {found.sum()} of {len(train)} training frames are copies of test frames ({really.sum()} are',
        end="",
    )
    print(f" the same file); {(really & ~found).sum()} missed, {(found & ~really).sum()} other frames matched; ", end="")
    print(f"{len(ranges)} of {len({first for first, _ in lists['test']})} test sequences are in train")


if __name__ == "__main__":
    main()

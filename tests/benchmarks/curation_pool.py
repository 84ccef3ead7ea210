"""Long-tailed pools of frames whose group is known, for the benchmarks of curation.

In each the largest group has a hundred times the frames of the smallest. A group's frames are its few originals over and over, each time as
a near-duplicate: shifted, turned, brighter or darker, and compressed again. Frames come in videos of a hundred, in runs of one group, and
the common groups fill most of every video, as a withdrawal fills an archive.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.config import PhantomConfig
from curation.phantom.patient import draw_patient
from curation.phantom.scene import STATIONS
from curation.phantom.script import draw_script
from curation.phantom.video import render_frames

__all__ = ["Pool", "join", "phantom_pool", "real_pool"]

IMBALANCE = 100
FRAMES_PER_VIDEO = 100
_RUN = (5, 25)
_FLAWS = ("blur", "dark", "bright", "freeze", "bubbles", "stool", "out_of_body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """n frames, video after video."""

    jpegs: tuple[bytes, ...]
    group: npt.NDArray[np.int64]
    """(n,) what should be balanced: the sequence of a real frame, the station of a phantom one"""
    sequence: npt.NDArray[np.int64]
    """(n,) which originals a frame is made from: sequence, image or visit of a station"""
    video: npt.NDArray[np.int64]
    """(n,)"""
    names: tuple[str, ...] = ()
    """of the groups, where they have any: the stations of a phantom pool"""


def real_pool(data: Path, *, seed: int, largest: int = 400, num_images: int = 40, without: frozenset[str] = frozenset()) -> Pool:
    """CVC-ClinicDB's 29 sequences, the laparoscopy and some images of Kvasir-SEG, each a group.

    Args:
        data: folder of real data.
        seed: of which group is how common, and of the near-duplicates.
        largest: frames of the most common group.
        num_images: of Kvasir-SEG.
        without: images that must not be in it, as paths below `data`.
    """
    rng = np.random.default_rng(seed)
    by_sequence: dict[str, list[Path]] = {}
    with (data / "splits" / "cvc_clinicdb_sequences.csv").open() as file:
        for row in csv.DictReader(file):
            by_sequence.setdefault(f"cvc {row['sequence']}", []).append(data / "cvc_clinicdb" / "images" / row["file"])
    kvasir = sorted((data / "kvasir_seg" / "images").iterdir())
    kvasir = [path for path in kvasir if str(path.relative_to(data)) not in without]
    for chosen in rng.choice(len(kvasir), num_images, replace=False):
        by_sequence[f"kvasir {kvasir[chosen].stem}"] = [kvasir[chosen]]
    originals = []
    for paths in by_sequence.values():
        if not any(str(path.relative_to(data)) in without for path in paths):
            originals.append([np.asarray(cv2.imread(str(path))) for path in paths])
    originals.append(_every_second(next((data / "videos" / "laparoscopy").iterdir())))
    common = [originals[place] for place in rng.permutation(len(originals))]
    return _long_tailed([[pictures] for pictures in common], largest, rng)


def phantom_pool(*, seed: int, largest: int = 600, num_patients: int = 12) -> Pool:
    """The nine stations of phantom procedures, in the order of their frequency in an archive; sequences are visits."""
    by_station: dict[str, list[list[npt.NDArray[np.uint8]]]] = {station: [] for station in STATIONS}
    config = PhantomConfig(seed=seed, size=224)
    for number in range(num_patients):
        patient = draw_patient(number, seed=config.seed, size=config.size)
        script = draw_script(patient.seed, num_frames=80, fps=4, procedure="gastroscopy" if number % 2 else "colonoscopy")
        visits: dict[str, list[npt.NDArray[np.uint8]]] = {}
        area = patient.area
        top, left = max(0, int(area.center_y - area.half_height)), max(0, int(area.center_x - area.half_width))
        for picture, row in render_frames(patient, script, fps=4):
            if row["station"] is not None and not any(row[flaw] for flaw in _FLAWS):
                crop = picture[top : int(area.center_y + area.half_height), left : int(area.center_x + area.half_width), ::-1]
                visits.setdefault(row["station"], []).append(np.ascontiguousarray(crop))
        for station, pictures in visits.items():
            by_station[station].append(pictures)
    names = sorted((station for station in STATIONS if by_station[station]), key=lambda station: -sum(map(len, by_station[station])))
    pool = _long_tailed([by_station[station] for station in names], largest, np.random.default_rng(seed))
    return replace(pool, names=tuple(names))


def join(*pools: Pool) -> Pool:
    """One pool of several, with groups, sequences and videos kept apart."""

    def shifted(name: str) -> npt.NDArray[np.int64]:
        arrays = [getattr(pool, name) for pool in pools]
        offsets = np.cumsum([0, *(array.max() + 1 for array in arrays)])
        return np.concatenate([array + offset for array, offset in zip(arrays, offsets[:-1], strict=True)])

    jpegs = tuple(jpeg for pool in pools for jpeg in pool.jpegs)
    return Pool(jpegs=jpegs, group=shifted("group"), sequence=shifted("sequence"), video=shifted("video"))


def _every_second(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [
            np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            for number, frame in enumerate(container.decode(video=0))
            if number % 25 == 0
        ]


def _long_tailed(groups: Sequence[Sequence[Sequence[npt.NDArray[np.uint8]]]], largest: int, rng: np.random.Generator) -> Pool:
    """A pool of (groups, their sequences, their pictures), most common group first."""
    sizes = np.maximum(1, np.round(largest * float(IMBALANCE) ** (-np.arange(len(groups)) / max(1, len(groups) - 1)))).astype(int)
    group = _in_runs(sizes, rng)
    first_sequence = np.cumsum([0, *map(len, groups)])
    jpegs, sequence = [], np.empty(len(group), np.int64)
    for number, place in enumerate(group):
        within = int(rng.integers(len(groups[place])))
        pictures = groups[place][within]
        sequence[number] = first_sequence[place] + within
        jpegs.append(_near_duplicate(pictures[int(rng.integers(len(pictures)))], rng))
    return Pool(jpegs=tuple(jpegs), group=group, sequence=sequence, video=np.arange(len(group)) // FRAMES_PER_VIDEO)


def _in_runs(sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Groups of all frames, in runs whose order is by chance."""
    runs = []
    for place, size in enumerate(sizes):
        while size > 0:
            length = min(int(size), int(rng.integers(*_RUN)))
            runs.append(np.full(length, place))
            size -= length
    return np.concatenate([runs[place] for place in rng.permutation(len(runs))]).astype(np.int64)


def _near_duplicate(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> bytes:
    height, width = picture.shape[:2]
    scale = 256 / min(height, width)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-4, 4), scale * rng.uniform(1.0, 1.08))
    turn[:, 2] += (scale - 1) / 2 * np.array([width, height]) + rng.uniform(-6, 6, 2)
    size = (round(width * scale), round(height * scale))
    moved = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    lit = np.clip(moved.astype(np.float32) * rng.uniform(0.9, 1.1) + rng.uniform(-6, 6), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 95))])[1])

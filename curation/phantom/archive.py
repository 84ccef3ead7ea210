"""What makes the phantom's videos an archive: a manifest, one copy, one damaged file, and a film of pictures that models are judged by.

None of the three adds a frame to a dataset: ingest names the copy and the damaged file among its rejects, and the film is held out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.config import PhantomConfig
from curation.phantom.patient import draw_patient
from curation.phantom.phantom import train_patients, video_path
from curation.phantom.video import CODER
from warehouse.store import atomic_file, content_id

__all__ = ["device_of", "site_of", "write_archive"]

PICTURES_SHOWN = 4
"""pictures of the film, each for a second"""
_SITES = ("Northgate", "Southgate")


def device_of(patient: int, config: PhantomConfig) -> str:
    """The processor: its kind is seen by the shape of the content area."""
    return f"{draw_patient(patient, seed=config.seed, size=config.size).area.kind} processor"


def site_of(patient: int, config: PhantomConfig) -> str:
    """The hospital."""
    return _SITES[int(np.random.default_rng([config.seed, patient, 2]).integers(len(_SITES)))]


def write_archive(out: Path, *, config: PhantomConfig) -> None:
    """Add a copy, a damaged file and the film to videos/, and write videos.csv, holdout.csv with the film's pictures, and patients.key.

    Args:
        out: folder with videos/ and evaluation/ in it.
        config: of both.
    """
    videos = out / "videos"
    other = min(1, config.num_train_videos - 1)
    first, second = video_path(videos, 0), video_path(videos, other)
    copy, damaged = (path.with_name(f"{path.stem}{what}.mp4") for path, what in ((first, "_again"), (second, "_damaged")))
    shown = config.num_train_videos + 3  # a patient of the test split
    film = video_path(videos, shown).with_name("teaching film.mp4")
    pictures = sorted((out / "evaluation" / "landmarks" / "images").glob(f"p{shown:03d}_*_00.jpg"))[:PICTURES_SHOWN]
    _write(copy, first.read_bytes())
    _write(damaged, second.read_bytes()[: second.stat().st_size // 2])  # its index was at the end
    _write_film(film, pictures, config)
    rows = [*((video_path(videos, patient), patient) for patient in train_patients(config)), (copy, 0), (damaged, other), (film, shown)]
    told = [[path.relative_to(out).as_posix(), f"patient_{n:03d}", site_of(n, config), device_of(n, config)] for path, n in sorted(rows)]
    _write_table(out / "videos.csv", [["uri", "patient", "site", "device"], *told])
    _write_table(out / "holdout.csv", [["path"], *([path.relative_to(out).as_posix()] for path in pictures)])
    _write(out / "patients.key", content_id({"key of phantom patients": config}).encode())


def _write(path: Path, data: bytes) -> None:
    """Leave what is there already as it is, its time of change included."""
    if not path.is_file() or path.read_bytes() != data:
        with atomic_file(path) as file:
            file.write(data)


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path, text.getvalue().encode())


def _write_film(path: Path, pictures: Sequence[Path], config: PhantomConfig) -> None:
    """h264 of the pictures, a little brighter than they are."""
    import av  # as the videos do

    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(config.fps).limit_denominator(1001), options=CODER)
        stream.width, stream.height, stream.pix_fmt = config.size, config.size, "yuv420p"
        stream.thread_count = 1
        for picture in _shown(pictures, config):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    _write(path, film.getvalue())


def _shown(pictures: Sequence[Path], config: PhantomConfig) -> Iterator[npt.NDArray[np.uint8]]:
    for path in pictures:
        picture = cv2.imread(str(path))
        if picture is None:
            raise ValueError(f"{path} cannot be decoded; remove the folder evaluation/ and run the demo again")
        brighter = np.asarray(cv2.convertScaleAbs(cv2.resize(picture, (config.size, config.size)), alpha=1.05), dtype=np.uint8)
        frame = np.ascontiguousarray(brighter[..., ::-1])
        yield from (frame for _ in range(max(1, round(config.fps))))

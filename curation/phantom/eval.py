"""Labelled evaluation sets from patients that no training video shows: landmarks, grades of inflammation, polyp masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.archive import device_of, site_of
from curation.phantom.artefacts import Processor
from curation.phantom.camera import Camera, Tiles, ViewGrid, view_grid
from curation.phantom.config import PhantomConfig
from curation.phantom.patient import Patient, draw_patient
from curation.phantom.render import render_view
from curation.phantom.scene import STATIONS, Scene, build_scene
from curation.phantom.script import camera_at, draw_path
from curation.phantom.tissue import draw_layers
from curation.phantom.video import has_grade, patient_tiles
from warehouse.store import atomic_file, content_id, flush_files, read_json, write_json

__all__ = ["EVAL_VERSION", "eval_split", "phantom_eval_patient", "write_eval_index"]

EVAL_VERSION = 1
_JPEG_QUALITY = 92
_POLYP_STATIONS = ("descending_colon", "transverse_colon")
_MAX_TRIES = 40
_LEAST_POLYP, _MOST_POLYP = 0.012, 0.45
"""share of the view that a labelled polyp covers"""


def eval_split(patient: int, config: PhantomConfig) -> str:
    """train, val or test: half, a quarter and a quarter of the evaluation patients, whole patients each."""
    return ("train", "val", "train", "test")[(patient - config.num_train_videos) % 4]


def _evidence_path(out_dir: Path, patient: int) -> Path:
    return out_dir / "evidence" / f"patient_{patient:03d}.json"


def _write_image(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write RGB as JPEG or one channel as PNG, by the suffix; whoever names it in evidence flushes it first."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    ok, data = cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)
    if not ok:
        raise ValueError(f"OpenCV could not encode {path.name}; check that the installed build has {path.suffix} support")
    with atomic_file(path, durable=False) as file:
        file.write(data.tobytes())


class _Studio:
    """Takes still pictures of one patient."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.processor = Processor(patient)
        self.grid: ViewGrid = view_grid(self.processor.side)
        self.layers = draw_layers(patient.seed)
        self.tiles: Tiles = patient_tiles(patient, self.layers, grade=0)

    def shoot(
        self, scene: Scene, camera: Camera, tiles: Tiles, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Content area's picture and polyp mask; exposure and gloss change a little from picture to picture."""
        camera = replace(camera, exposure=float(np.exp(rng.normal(0, 0.16))), gloss=float(rng.uniform(0.4, 1.2)))
        view = render_view(scene, camera, self.grid, tiles)
        return self.processor.develop(view.image, rng), self.processor.crop_mask(view.polyp)


def _random_camera(scene: Scene, patient: Patient, rng: np.random.Generator) -> Camera:
    path = draw_path(scene, rng, focal=patient.focal)
    return camera_at(scene, path, seconds=float(rng.uniform(0, 20)), progress=float(rng.uniform(0.05, 0.95)))


def _aim(scene: Scene, patient: Patient, rng: np.random.Generator) -> Camera:
    """A camera that has a polyp ahead and turned towards the middle of the view."""
    polyp = scene.polyps[int(rng.integers(len(scene.polyps)))]
    camera = _random_camera(scene, patient, rng)
    ahead = float(rng.uniform(0.55, 1.5))
    turn = polyp.angle - camera.roll
    pull = float(rng.uniform(0.15, 0.55))
    return replace(
        camera,
        depth=max(polyp.depth - ahead, 0.1),
        look_x=float(np.clip(camera.look_x * 0.5 - pull * np.cos(turn), -0.6, 0.6)),
        look_y=float(np.clip(camera.look_y * 0.5 - pull * np.sin(turn), -0.6, 0.6)),
    )


def _landmarks(studio: _Studio, out_dir: Path, config: PhantomConfig) -> list[list[str]]:
    patient, rows = studio.patient, []
    rng = np.random.default_rng([patient.seed, 11])
    for station in STATIONS:
        for number in range(config.landmarks_per_station):
            if number % 2 == 0:
                scene = build_scene(station, seed=patient.seed + number)
            picture, _ = studio.shoot(scene, _random_camera(scene, patient, rng), studio.tiles, rng)
            name = f"images/p{patient.patient:03d}_{station}_{number:02d}.jpg"
            _write_image(out_dir / "landmarks" / name, picture)
            rows.append([name, station])
    return rows


def _grades(studio: _Studio, out_dir: Path, config: PhantomConfig) -> list[list[str]]:
    patient, rows = studio.patient, []
    rng = np.random.default_rng([patient.seed, 12])
    stations = [station for station in STATIONS if has_grade(station) and station not in {"rectum_retroflex", "caecum"}]
    for grade in range(4):
        tiles = studio.tiles | patient_tiles(patient, studio.layers, grade=grade, kinds=("colonic",))
        for number in range(config.images_per_grade):
            if number % 3 == 0:
                scene = build_scene(stations[number // 3 % len(stations)], seed=patient.seed + 100 + number, grade=grade)
            picture, _ = studio.shoot(scene, _random_camera(scene, patient, rng), tiles, rng)
            name = f"images/p{patient.patient:03d}_grade{grade}_{number:02d}.jpg"
            _write_image(out_dir / "grades" / name, picture)
            rows.append([name, str(grade)])
    return rows


def _polyps(studio: _Studio, out_dir: Path, config: PhantomConfig) -> list[list[str]]:
    patient, rows = studio.patient, []
    rng = np.random.default_rng([patient.seed, 13])
    for number in range(config.polyps_per_patient):
        if number % 2 == 0:
            scene = build_scene(_POLYP_STATIONS[number // 2 % 2], seed=patient.seed + 200 + number, num_polyps=4)
        for _ in range(_MAX_TRIES):
            picture, mask = studio.shoot(scene, _aim(scene, patient, rng), studio.tiles, rng)
            if _LEAST_POLYP < mask.mean() < _MOST_POLYP:
                break
        else:
            continue  # a polyp hidden by folds from every side; another scene has one
        stem = f"p{patient.patient:03d}_{number:02d}"
        _write_image(out_dir / "polyps" / "images" / f"{stem}.jpg", picture)
        _write_image(out_dir / "polyps" / "masks" / f"{stem}.png", mask.astype(np.uint8) * 255)
        rows.append([f"images/{stem}.jpg", f"masks/{stem}.png"])
    return rows


def phantom_eval_patient(patient: int, *, out_dir: str, config: PhantomConfig) -> str:
    """Write all labelled images of one evaluation patient; a second call with one config does nothing.

    Args:
        patient: from num_train_videos to num_train_videos + num_eval_patients - 1.
        out_dir: folder of the sets.
        config: sizes and seed.

    Returns:
        Path of the evidence file, which names every image and its label.

    Raises:
        ValueError: the number is not that of an evaluation patient.
    """
    first, last = config.num_train_videos, config.num_train_videos + config.num_eval_patients - 1
    if not first <= patient <= last:
        raise ValueError(f"got evaluation patient {patient}, expected {first} to {last}: the numbers below belong to training videos")
    root = Path(out_dir)
    evidence = _evidence_path(root, patient)
    key = content_id({"stage": "phantom_eval", "version": EVAL_VERSION, "config": config, "patient": patient})
    if evidence.exists() and read_json(evidence)["key"] == key:
        return str(evidence)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        studio = _Studio(draw_patient(patient, seed=config.seed, size=config.size, spread=config.spread))
        tasks = {"landmarks": _landmarks, "grades": _grades, "polyps": _polyps}
        rows = {task: write(studio, root, config) for task, write in tasks.items()}
    finally:
        cv2.setNumThreads(threads)
    flush_files([root / task / name for task, found in rows.items() for row in found for name in row if "/" in name])
    write_json(evidence, {"key": key, "patient": patient, "split": eval_split(patient, config), **rows})
    return str(evidence)


def write_eval_index(evidence_paths: Sequence[str], *, out_dir: str, config: PhantomConfig) -> dict[str, int]:
    """Write landmarks/labels.csv, grades/labels.csv and polyps/split.csv from the patients' evidence.

    Args:
        evidence_paths: what `phantom_eval_patient` returned, in any order.
        out_dir: folder of the sets.
        config: of the patients.

    Returns:
        number of images in each set.
    """
    found = sorted((read_json(Path(path)) for path in evidence_paths), key=lambda each: int(each["patient"]))
    counts: dict[str, int] = {}
    for task, columns, name in (
        ("landmarks", ["path", "label"], "labels.csv"),
        ("grades", ["path", "label"], "labels.csv"),
        ("polyps", ["image", "mask"], "split.csv"),
    ):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*columns, "split", "group", "site", "device"])
        rows = [[*row, *_of_patient(each["patient"], each["split"], config)] for each in found for row in each[task]]
        writer.writerows(rows)
        with atomic_file(Path(out_dir) / task / name) as file:
            file.write(text.getvalue().encode())
        counts[task] = len(rows)
    return counts


def _of_patient(patient: int, split: str, config: PhantomConfig) -> list[str]:
    return [split, f"patient_{patient:03d}", site_of(patient, config), device_of(patient, config)]

"""Clips that only motion tells apart: the camera going in, and the same frames backward, which is the camera coming out.

Both clips of a pair hold the same pictures, bit for bit: every frame is coded by itself, at a fixed quantiser. There is no burned-in text,
for a clock would tell the order. The number of frames is odd, so that the middles of 2, 4, 8 or 16 equal parts are never on the border of
two frames, and sampling takes the same frames of both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.artefacts import Processor
from curation.phantom.camera import view_grid
from curation.phantom.config import PhantomConfig
from curation.phantom.eval import eval_split
from curation.phantom.patient import draw_patient
from curation.phantom.render import render_view
from curation.phantom.scene import build_scene
from curation.phantom.script import camera_at, draw_path
from curation.phantom.tissue import draw_layers
from curation.phantom.video import patient_tiles
from warehouse.store import atomic_file, content_id, read_json, write_json

__all__ = ["MOTION_LABELS", "motion_frames", "phantom_motion_patient", "write_motion_index"]

MOTION_VERSION = 1
MOTION_LABELS = ("insertion", "withdrawal")
MOTION_FRAMES = 25
_STATIONS = ("caecum", "descending_colon")
"""the camera nears an end wall, so that late frames differ from early ones; and it passes along a tube, which looks alike all along"""
_TRAVEL = 1.2
"""lumen radii that the camera goes in a clip, or what the station has"""


def motion_frames(patient: int, number: int, config: PhantomConfig) -> npt.NDArray[np.uint8]:
    """Frames [25, H, W, 3] RGB of the camera going in, at one station of an evaluation patient.

    Args:
        patient: of the phantom.
        number: of the clip, from 0; even ones are at the caecum, odd ones in the descending colon.
        config: sizes and seed.
    """
    looks = draw_patient(patient, seed=config.seed, size=config.size, spread=config.spread)
    processor, layers = Processor(looks), draw_layers(looks.seed)
    grid, tiles = view_grid(processor.side), patient_tiles(looks, layers, grade=0)
    rng = np.random.default_rng([looks.seed, 14, number])
    scene = build_scene(_STATIONS[number % 2], seed=looks.seed + 300 + number)
    path = replace(draw_path(scene, rng, focal=looks.focal), backwards=False)
    length = scene.last_depth - scene.first_depth
    share = min(1.0, _TRAVEL / length)
    first = float(rng.uniform(0, 1 - share))
    frames = []
    for frame in range(MOTION_FRAMES):
        progress = first + share * frame / (MOTION_FRAMES - 1)
        camera = camera_at(scene, path, seconds=frame / config.fps, progress=progress)
        frames.append(processor.place(processor.develop(render_view(scene, camera, grid, tiles).image, rng)))
    return np.stack(frames)


def phantom_motion_patient(patient: int, *, out_dir: str, config: PhantomConfig) -> str:
    """Write the motion clips of one evaluation patient; a second call with one config does nothing.

    Args:
        patient: an evaluation patient of the phantom.
        out_dir: folder of the set.
        config: sizes, seed, and how many pairs of clips.

    Returns:
        Path of the evidence file, which names every clip and its label.
    """
    root = Path(out_dir)
    evidence = root / "evidence" / f"patient_{patient:03d}.json"
    key = content_id({"stage": "phantom_motion", "version": MOTION_VERSION, "config": config, "patient": patient})
    if evidence.exists() and read_json(evidence)["key"] == key:
        return str(evidence)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    rows = []
    try:
        for number in range(config.motion_pairs):
            frames = motion_frames(patient, number, config)
            for label, played in zip(MOTION_LABELS, (frames, frames[::-1]), strict=True):
                name = f"clips/p{patient:03d}_{number:02d}_{label}.mp4"
                _write_clip(root / name, played, fps=config.fps)
                rows.append([name, label, _STATIONS[number % 2]])
    finally:
        cv2.setNumThreads(threads)
    write_json(evidence, {"key": key, "patient": patient, "split": eval_split(patient, config), "clips": rows})
    return str(evidence)


def write_motion_index(evidence_paths: Sequence[str], *, out_dir: str, config: PhantomConfig) -> int:
    """Write clips.csv from the patients' evidence, in any order; gives the number of clips."""
    found = sorted((read_json(Path(path)) for path in evidence_paths), key=lambda each: int(each["patient"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "start_s", "end_s", "label", "split", "group", "station"])
    end = f"{MOTION_FRAMES / config.fps:.6f}"
    rows = [
        [name, "0", end, label, each["split"], f"patient_{each['patient']:03d}", station]
        for each in found
        for name, label, station in each["clips"]
    ]
    writer.writerows(rows)
    with atomic_file(Path(out_dir) / "clips.csv") as file:
        file.write(text.getvalue().encode())
    return len(rows)


def _write_clip(path: Path, frames: npt.NDArray[np.uint8], *, fps: float) -> None:
    """H.264 in which each frame is coded by itself, so that its pixels do not depend on its neighbours."""
    import av  # here, so that pictures alone can be rendered on a machine that has no PyAV

    with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
        options = {"preset": "veryfast", "qp": "20", "threads": "1", "x264-params": "keyint=1:aq-mode=0:scenecut=0"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.thread_count, stream.gop_size = 1, 1
        for frame in frames:
            planes = np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))

"""One phantom procedure as an mp4, and per frame what is true of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.phantom.artefacts import Processor, blur_motion, cover_with_bubbles, cover_with_stool, draw_room, draw_text, room_view
from curation.phantom.camera import Image, Tiles, view_grid
from curation.phantom.config import PhantomConfig
from curation.phantom.patient import ContentArea, Patient, draw_patient
from curation.phantom.render import View, render_view
from curation.phantom.scene import COLON_STATIONS, build_scene
from curation.phantom.script import Event, Script, Segment, camera_at, draw_path, draw_script
from curation.phantom.tissue import TissueKind, TissueLayers, compose_tile, draw_layers
from warehouse.store import atomic_file, write_parquet

__all__ = ["CODER", "TRUTH_SCHEMA", "VideoTruth", "render_frames", "write_video"]

CODER = {"preset": "veryfast", "crf": "21", "threads": "1", "x264-params": "mbtree=0"}
"""Settings of x264 that give equal bytes. It splits rate control over threads, so the bytes depend on their number; the output of its
macroblock tree on the same pictures differed between runs."""

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("pts_us", pa.int64(), nullable=False),
        pa.field("station", pa.string()),  # null outside the body
        pa.field("grade", pa.int8()),  # null where the station has no grade
        pa.field("has_polyp", pa.bool_(), nullable=False),
        pa.field("polyp_left", pa.int32()),
        pa.field("polyp_top", pa.int32()),
        pa.field("polyp_right", pa.int32()),
        pa.field("polyp_bottom", pa.int32()),
        *(
            pa.field(flag, pa.bool_(), nullable=False)
            for flag in ("blur", "dark", "bright", "freeze", "bubbles", "stool", "text", "text_in_content", "out_of_body")
        ),
        pa.field("specular_share", pa.float64(), nullable=False),  # of the content area, by the wall's own reflections
        pa.field("area_kind", pa.string(), nullable=False),
        *(
            pa.field(f"area_{part}", pa.float64(), nullable=False)
            for part in ("center_x", "center_y", "half_width", "half_height", "corner_cut")
        ),
    ]
)
_FLAG_OF_EVENT = {"motion_blur": "blur", "defocus": "blur", "dark": "dark", "bright": "bright", "bubbles": "bubbles", "stool": "stool"}
_TISSUES: tuple[TissueKind, ...] = ("colonic", "villous", "squamous", "gastric", "polyp")
_TISSUES_OF_PROCEDURE: dict[str, tuple[TissueKind, ...]] = {
    "colonoscopy": ("colonic", "villous", "polyp"),
    "gastroscopy": ("squamous", "gastric", "villous"),
}
_TRANSITION_S = 0.16


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTruth:
    """What is true of one phantom video."""

    path: Path
    truth_path: Path
    patient: int
    width: int
    height: int
    fps: float
    area: ContentArea
    frames: pa.Table
    """`TRUTH_SCHEMA`, one row a frame; polyp boxes are in pixels of the frame, right and bottom exclusive"""


def patient_tiles(patient: Patient, layers: TissueLayers, *, grade: int, kinds: tuple[TissueKind, ...] = _TISSUES) -> Tiles:
    """Textures of one patient; the grade shows on colonic mucosa only."""
    return {kind: compose_tile(layers, kind, grade=grade if kind == "colonic" else 0, seed=patient.seed) for kind in kinds}


def has_grade(station: str | None) -> bool:
    """Whether a station is colonic, so that a grade of colitis applies."""
    return station in COLON_STATIONS and station != "ileum"


def _mask_box(mask: npt.NDArray[np.bool_], left: int, top: int) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


class _Stage:
    """The scenery of one segment: renders light, polyp mask and reflections at a time."""

    def __init__(self, segment: Segment, script: Script, patient: Patient, tiles: Tiles, side: int, fps: float) -> None:
        self.segment, self.fps, self.side, self.tiles = segment, fps, side, tiles
        rng = np.random.default_rng([patient.seed, segment.start, 7])
        self.phase = float(rng.uniform(0, 6))
        self.grid = view_grid(side)
        if segment.station is None:
            self.room = draw_room(rng, side)
            return
        num_polyps = script.num_polyps if segment.station in COLON_STATIONS[:2] else 0
        self.scene = build_scene(
            segment.station, seed=patient.seed, grade=script.grade if has_grade(segment.station) else 0, num_polyps=num_polyps
        )
        self.path = draw_path(self.scene, rng, focal=patient.focal)

    def view(self, frame: int) -> View:
        seconds = (frame - self.segment.start) / self.fps
        if self.segment.station is None:
            nowhere = np.zeros((self.side, self.side), dtype=np.bool_)
            return View(image=room_view(self.room, self.side, seconds, self.phase), polyp=nowhere, specular=nowhere)
        progress = (frame - self.segment.start) / max(self.segment.stop - self.segment.start - 1, 1)
        return render_view(self.scene, camera_at(self.scene, self.path, seconds=seconds, progress=progress), self.grid, self.tiles)


def _disturb_light(image: Image, event: Event | None, frame: int, layers: TissueLayers, seed: int) -> tuple[Image, float]:
    """Apply what happens before the sensor; also returns the exposure factor."""
    if event is None:
        return image, 1.0
    if event.kind == "bubbles":
        return cover_with_bubbles(image, np.random.default_rng([seed, event.start, 8]), frame - event.start), 1.0
    if event.kind == "stool":
        return cover_with_stool(image, layers, frame - event.start), 1.0
    if event.kind == "dark":
        return image, 0.05 + 0.07 * event.strength
    return image, 3.0 + 4.0 * event.strength if event.kind == "bright" else 1.0


def _disturb_frame(content: npt.NDArray[np.uint8], event: Event | None, scale: float) -> npt.NDArray[np.uint8]:
    """Apply blur of motion or focus."""
    if event is not None and event.kind == "motion_blur":
        return blur_motion(content, round((11 + 12 * event.strength) * scale), event.strength * 9.7)
    if event is not None and event.kind == "defocus":
        return np.asarray(cv2.GaussianBlur(content, (0, 0), (2.6 + 2.4 * event.strength) * scale))
    return content


def render_frames(patient: Patient, script: Script, *, fps: float) -> Iterator[tuple[npt.NDArray[np.uint8], dict[str, Any]]]:
    """Yield every frame (height, width, 3) of a procedure with its row of truth, without pts.

    Args:
        patient: looks.
        script: what happens.
        fps: frames per second.
    """
    processor = Processor(patient)
    layers = draw_layers(patient.seed)
    tiles = patient_tiles(patient, layers, grade=script.grade, kinds=_TISSUES_OF_PROCEDURE[script.procedure])
    rng = np.random.default_rng([patient.seed, 9])
    scale = patient.height / 320
    transition = max(1, round(_TRANSITION_S * fps))
    previous: tuple[npt.NDArray[np.uint8], dict[str, Any]] | None = None
    for segment in script.segments:
        stage = _Stage(segment, script, patient, tiles, processor.side, fps)
        for frame in range(segment.start, segment.stop):
            event = next((each for each in script.events if each.start <= frame < each.stop), None)
            if event is not None and event.kind == "freeze" and frame > event.start and previous is not None:
                previous = previous[0], previous[1] | {"freeze": True}
                yield previous
                continue
            if frame - segment.start < transition and segment.start > 0:  # the wall sweeps past between stations
                event = Event(kind="motion_blur", start=segment.start, stop=segment.start + transition, strength=1.0)
            view = stage.view(frame)
            image, exposure = _disturb_light(view.image, event, frame, layers, patient.seed)
            content = _disturb_frame(processor.develop(image, rng, exposure), event, scale)
            picture = processor.place(content)
            draw_text(picture, patient, frame / fps, inside=patient.text_inside)
            box = _mask_box(processor.crop_mask(view.polyp), processor.left, processor.top)
            row: dict[str, Any] = dict.fromkeys(("blur", "dark", "bright", "freeze", "bubbles", "stool"), False)
            if event is not None and event.kind in _FLAG_OF_EVENT:
                row[_FLAG_OF_EVENT[event.kind]] = True
            row |= {
                "station": segment.station,
                "grade": script.grade if has_grade(segment.station) else None,
                "has_polyp": box is not None,
                "text": patient.text_outside or patient.text_inside,
                "text_in_content": patient.text_inside,
                "out_of_body": segment.station is None,
                "specular_share": float(processor.crop_mask(view.specular).sum() / processor.inside.sum()),
            }
            row |= dict(zip(("polyp_left", "polyp_top", "polyp_right", "polyp_bottom"), box or (None,) * 4, strict=True))
            previous = picture, row
            yield previous


def write_video(path: Path, *, config: PhantomConfig, patient: int) -> VideoTruth:
    """Render one procedure to `path` and its truth to `<stem>.truth.parquet` beside it; the truth is written first.

    Args:
        path: the mp4 to write; appears under this name only when whole.
        config: sizes and seed.
        patient: number of the patient; even ones have a colonoscopy, odd ones a gastroscopy.
    """
    import av  # here, so that pictures alone can be rendered on a machine that has no PyAV

    looks = draw_patient(patient, seed=config.seed, size=config.size, spread=config.spread)
    num_frames = max(1, round(config.seconds * config.fps))
    procedure = "gastroscopy" if patient % 2 else "colonoscopy"
    script = draw_script(looks.seed, num_frames=num_frames, fps=config.fps, procedure=procedure)
    rate = Fraction(config.fps).limit_denominator(1001)
    area = {
        f"area_{part}": getattr(looks.area, part) for part in ("kind", "center_x", "center_y", "half_width", "half_height", "corner_cut")
    }
    rows: list[dict[str, Any]] = []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options=CODER)
            stream.width, stream.height, stream.pix_fmt = looks.width, looks.height, "yuv420p"
            stream.thread_count = 1
            stream.gop_size = 60
            for number, (picture, row) in enumerate(render_frames(looks, script, fps=config.fps)):
                planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
                rows.append(row | area | {"frame": number, "pts_us": round(number * 1_000_000 / rate)})
            container.mux(stream.encode(None))
            container.close()
            truth_path = path.with_name(f"{path.stem}.truth.parquet")
            table = pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA)
            write_parquet(truth_path, table)
    finally:
        cv2.setNumThreads(threads)
    return VideoTruth(
        path=path,
        truth_path=truth_path,
        patient=patient,
        width=looks.width,
        height=looks.height,
        fps=config.fps,
        area=looks.area,
        frames=table,
    )

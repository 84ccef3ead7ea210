"""What happens when in a phantom procedure: which station, which disturbance, and how the camera moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from curation.phantom.camera import Camera
from curation.phantom.scene import Scene

__all__ = ["CameraPath", "Event", "Script", "Segment", "camera_at", "draw_path", "draw_script"]

EventKind = Literal["motion_blur", "defocus", "dark", "bright", "freeze", "bubbles", "stool"]

# The order of a visit, and how common a station is in an archive: dwell times follow Zipf's law over these ranks.
_VISITS: dict[str, tuple[tuple[str, int], ...]] = {
    "colonoscopy": (("descending_colon", 1), ("transverse_colon", 2), ("caecum", 3), ("ileum", 5), ("rectum_retroflex", 4)),
    "gastroscopy": (("oesophagus", 1), ("z_line", 4), ("pylorus", 3), ("duodenum", 2)),
}
_ZIPF_EXPONENT = 1.1
_EVENT_CHANCES: dict[EventKind, float] = {
    "motion_blur": 0.26, "defocus": 0.12, "dark": 0.10, "bright": 0.10, "freeze": 0.18, "bubbles": 0.14, "stool": 0.10,
}  # fmt: skip
_EVENTS_PER_SECOND = 0.32


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Frames [start, stop) at one station, or outside the body where station is None."""

    start: int
    stop: int
    station: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A disturbance over frames [start, stop)."""

    kind: EventKind
    start: int
    stop: int
    strength: float
    """between 0 and 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A whole procedure."""

    procedure: str
    segments: tuple[Segment, ...]
    events: tuple[Event, ...]
    grade: int
    """inflammation of this patient's colon, 0 to 3"""
    num_polyps: int
    """per colon station that can hold them"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPath:
    """Sums of slow sines, one row per moving quantity: depth jitter, offset x and y, look x and y, roll, bend x and y."""

    amplitude: npt.NDArray[np.float64]
    frequency: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float64]
    focal: float
    backwards: bool


def draw_script(seed: int, *, num_frames: int, fps: float, procedure: str) -> Script:
    """Draw the script of one procedure: a head outside the body, then the stations with Zipf-like dwell times."""
    rng = np.random.default_rng([seed, 6])
    visits = _VISITS[procedure]
    head = min(max(1, round(rng.uniform(0.04, 0.08) * num_frames)), num_frames)
    weights = np.array([rank**-_ZIPF_EXPONENT * math.exp(rng.normal(0, 0.35)) for _, rank in visits])
    bounds = head + np.round(np.concatenate([[0], np.cumsum(weights / weights.sum())]) * (num_frames - head)).astype(int)
    segments = [Segment(start=0, stop=head, station=None)]
    segments += [
        Segment(start=int(bounds[k]), stop=int(bounds[k + 1]), station=visits[k][0])
        for k in range(len(visits))
        if bounds[k + 1] > bounds[k]
    ]
    kinds = list(_EVENT_CHANCES)
    events: list[Event] = []
    at = head + rng.exponential(fps / _EVENTS_PER_SECOND)
    while at < num_frames:
        kind = kinds[int(rng.choice(len(kinds), p=list(_EVENT_CHANCES.values())))]
        length = max(2, round(rng.uniform(0.35, 1.0) * fps * (1.6 if kind in {"freeze", "bubbles", "stool"} else 1.0)))
        events.append(Event(kind=kind, start=int(at), stop=min(int(at) + length, num_frames), strength=float(rng.uniform(0, 1))))
        at += length + rng.exponential(fps / _EVENTS_PER_SECOND)
    return Script(
        procedure=procedure,
        segments=tuple(segments),
        events=tuple(events),
        grade=int(rng.choice(4, p=[0.5, 0.2, 0.17, 0.13])),
        num_polyps=int(rng.integers(0, 4)),
    )


def draw_path(scene: Scene, rng: np.random.Generator, *, focal: float) -> CameraPath:
    """Draw how the camera moves through one station."""
    close = scene.last_depth - scene.first_depth < 2.5  # stations with an end are looked at, tubes are passed through
    scale = np.array([0.25, 0.10, 0.10, 0.26, 0.26, 0.35, scene.bend, scene.bend]) * np.array([0.6 if close else 1.0] + [1.0] * 7)
    return CameraPath(
        amplitude=rng.normal(0, 1, (3, 8)) * scale * np.array([[0.8], [0.5], [0.2]]),
        frequency=rng.uniform(0.5, 1.5, (3, 8)) * np.array([[0.35], [1.1], [2.6]]),
        phase=rng.uniform(0, 2 * np.pi, (3, 8)),
        focal=focal * float(rng.uniform(0.92, 1.08)),
        backwards=bool(rng.random() < 0.6),
    )


def camera_at(scene: Scene, path: CameraPath, *, seconds: float, progress: float) -> Camera:
    """Camera at a time.

    Args:
        scene: the station.
        path: how the camera moves there.
        seconds: time since the station was reached.
        progress: part of the station that has been passed, 0 to 1.
    """
    moves = (path.amplitude * np.sin(path.frequency * seconds + path.phase)).sum(axis=0)
    part = 1 - progress if path.backwards else progress
    depth = scene.first_depth + part * (scene.last_depth - scene.first_depth) + moves[0]
    return Camera(
        depth=float(np.clip(depth, scene.first_depth - 0.25, scene.last_depth + 0.25)),
        offset_x=float(np.clip(moves[1], -0.2, 0.2)),
        offset_y=float(np.clip(moves[2], -0.2, 0.2)),
        look_x=float(np.clip(moves[3], -0.5, 0.5)),
        look_y=float(np.clip(moves[4], -0.5, 0.5)),
        roll=float(moves[5]) + float(path.phase[0, 0]),
        bend_x=float(moves[6]),
        bend_y=float(moves[7]),
        focal=path.focal,
    )

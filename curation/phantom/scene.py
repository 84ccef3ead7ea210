"""Anatomical stations as surfaces: the lumen's radius over angle and depth, with polyps raised on it.

Stations differ by the geometry of folds and by the kind of mucosa, never by a colour of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.tissue import TissueKind

__all__ = ["COLON_STATIONS", "NUM_ANGLES", "ROW_STEP", "STATIONS", "UPPER_STATIONS", "Polyp", "Scene", "build_scene"]

NUM_ANGLES = 256
ROW_STEP = 0.03
"""depth between two rows of a radius map, in lumen radii"""

Map = npt.NDArray[np.float32]

COLON_STATIONS = ("descending_colon", "transverse_colon", "caecum", "ileum", "rectum_retroflex")
UPPER_STATIONS = ("oesophagus", "z_line", "pylorus", "duodenum")
STATIONS = COLON_STATIONS + UPPER_STATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Polyp:
    """A polyp on the wall; lengths in lumen radii."""

    angle: float
    depth: float
    radius: float
    elongation: float
    """length along the lumen over length around it"""
    height: float
    stalk: float
    """length of the stalk; 0 for a sessile polyp"""
    wall: float
    """distance of its foot from the axis"""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One station of one patient, ready to be rendered."""

    station: str
    tissue: TissueKind
    radius: Map
    """(rows, angles): distance of the wall from the lumen's axis"""
    turn: Map
    """derivative of radius by angle, over radius"""
    end_wall: Map
    """(rows,): 0 on a side wall, 1 where the wall faces the camera and texture is laid flat on it"""
    first_depth: float
    """camera positions that show this station"""
    last_depth: float
    bend: float
    """largest curvature of the axis"""
    polyps: tuple[Polyp, ...] = ()
    far_tissue: TissueKind | None = None
    """mucosa beyond `border`, where the station shows two"""
    border: Map | None = field(default=None)
    """(angles,): depth of the boundary between the two"""
    shaft: bool = False
    """the scope's own shaft is in view"""
    orifice: tuple[float, float, float] | None = None
    """appendix: offset from the axis as (x, y), and its tilt in radians"""


def _smooth_ring(rng: np.random.Generator, num_waves: int, scale: float) -> Map:
    """A periodic random curve over the angle."""
    angle = np.arange(NUM_ANGLES) * 2 * np.pi / NUM_ANGLES
    curve = sum(rng.normal(0, scale / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(1, num_waves + 1))
    return np.asarray(curve, dtype=np.float32)


def _rows(length: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    depth = np.arange(int(length / ROW_STEP), dtype=np.float32)[:, None] * ROW_STEP
    angle = (np.arange(NUM_ANGLES, dtype=np.float32) * 2 * np.pi / NUM_ANGLES)[None, :]
    return depth, angle


def _crest(depth: npt.NDArray[Any], at: float | npt.NDArray[Any], width: float) -> Map:
    """Profile of a fold: a rounded crest that is steeper on its far side."""
    x = (depth - at) / width
    return np.asarray(1.0 / (1.0 + np.where(x < 0, 0.8, 1.6) * x**2) ** 2, dtype=np.float32)


def _add_fold(radius: npt.NDArray[Any], at: float | npt.NDArray[Any], width: float, height: npt.NDArray[Any]) -> None:
    """Narrow the lumen by one fold, in place, on the few rows where its profile is not yet nothing."""
    first = max(int((np.min(at) - 7 * width) / ROW_STEP), 0)
    last = max(int((np.max(at) + 7 * width) / ROW_STEP) + 1, 0)
    depth = np.arange(first, min(last, radius.shape[0]), dtype=np.float32)[:, None] * np.float32(ROW_STEP)
    radius[first:last] -= height * _crest(depth, at, width)


def _descending_colon(rng: np.random.Generator) -> dict[str, object]:
    """A round lumen with low crescents over less than half of the circumference, left and right in turn."""
    depth, angle = _rows(18)
    radius = 1 + 0.04 * np.sin(1.1 * depth + rng.uniform(0, 6)) + _smooth_ring(rng, 4, 0.05)
    at, side = rng.uniform(0.2, 1.0), rng.uniform(0, 2 * np.pi)
    while at < 18:
        reach = np.clip(np.cos(angle - side) * 1.2 + 0.1, 0, 1) ** 1.2
        height = rng.uniform(0.22, 0.42) * reach
        _add_fold(radius, at + 0.12 * np.cos(angle - side), rng.uniform(0.13, 0.2), height)
        at += rng.uniform(0.8, 1.5)
        side += np.pi + rng.normal(0, 0.7)
    return {"radius": radius, "tissue": "colonic", "bend": 0.045, "last_depth": 8.0}


def _transverse_colon(rng: np.random.Generator) -> dict[str, object]:
    """Sharp folds with a triangular opening between bulging haustra."""
    depth, angle = _rows(18)
    radius: npt.NDArray[Any] = np.full((depth.shape[0], NUM_ANGLES), 1.0, dtype=np.float32)
    at, phase = rng.uniform(0.3, 0.8), rng.uniform(0, 2 * np.pi)
    while at < 18:
        sector = (angle - phase + np.pi / 3) % (2 * np.pi / 3) - np.pi / 3
        triangle = rng.uniform(0.44, 0.54) / np.cos(sector)
        triangle = 1 / (triangle**-5 + 0.86**-5) ** 0.2  # rounds the corners
        wave = at + 0.07 * np.cos(3 * (angle - phase)) + _smooth_ring(rng, 3, 0.05)
        _add_fold(radius, wave, rng.uniform(0.10, 0.14), np.maximum(1.02 - triangle, 0))
        gap = rng.uniform(0.75, 1.15)
        radius += 0.16 * np.exp(-(((depth - at - gap / 2) / 0.24) ** 2))
        at += gap
        phase += rng.normal(0, 0.16)
    return {"radius": np.maximum(radius, 0.25), "tissue": "colonic", "bend": 0.02, "last_depth": 8.0}


def _caecum(rng: np.random.Generator) -> dict[str, object]:
    """A pouch closed by an end wall with three converging folds, the appendix orifice and the lip of the ileocaecal valve."""
    depth, angle = _rows(9)
    end = 5.2
    dome = np.clip(1 - np.clip((depth - (end - 1.5)) / 1.5, 0, 1) ** 2.6, 0, 1) ** 0.5
    radius = (1.22 + _smooth_ring(rng, 3, 0.05)) * dome
    phase = rng.uniform(0, 2 * np.pi)
    for k in range(3):
        across = np.angle(np.exp(1j * (angle - phase - k * 2 * np.pi / 3 - rng.normal(0, 0.15))))
        ridge = np.exp(-((across * np.clip(radius, 0.15, 2) / 0.16) ** 2))
        radius = radius - 0.30 * ridge * np.clip((depth - 2.2) / 1.6, 0, 1) * np.clip(radius / 0.35, 0, 1)
    lip = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
    valve = np.exp(-((lip / 0.62) ** 4))
    radius = radius - 0.48 * valve * _crest(depth, 3.3 + 0.15 * lip**2, 0.2) * (radius > 0.3)
    for at in (0.3, 1.1):
        radius = radius - 0.22 * np.clip(np.cos(angle - rng.uniform(0, 6)) + 0.3, 0, 1) * _crest(depth, at, 0.15)
    orifice = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0, np.pi)))
    return {"radius": np.maximum(radius, 0.0), "tissue": "colonic", "bend": 0.01, "first_depth": 1.4, "last_depth": 3.3, "orifice": orifice}


def _ileum(rng: np.random.Generator) -> dict[str, object]:
    """A narrow, soft tube without folds, velvety with villi, with round lymphoid follicles."""
    depth, _ = _rows(16)
    radius = 0.86 + 0.07 * np.sin(1.5 * depth + _smooth_ring(rng, 2, 0.8)) + _smooth_ring(rng, 3, 0.07)
    reach = np.arange(-8, 9)
    stamp = np.exp(-(((reach[:, None] * ROW_STEP) / 0.06) ** 2) - ((reach[None, :] * 2 * np.pi / NUM_ANGLES) / 0.07) ** 2)
    for _ in range(150):
        row, column = rng.integers(8, radius.shape[0] - 8), rng.integers(0, NUM_ANGLES)
        radius[np.ix_(row + reach, (column + reach) % NUM_ANGLES)] -= rng.uniform(0.02, 0.05) * stamp
    return {"radius": radius, "tissue": "villous", "bend": 0.075, "last_depth": 6.0}


def _rectum_retroflex(rng: np.random.Generator) -> dict[str, object]:
    """The scope looks back at itself: a wide dome that closes around its own black shaft."""
    depth, angle = _rows(8)
    end = 3.4
    dome = np.clip(1 - np.clip((depth - (end - 2.2)) / 2.2, 0, 1) ** 2.2, 0, 1) ** 0.5
    radius = (1.65 + _smooth_ring(rng, 3, 0.09)) * dome
    for k in range(int(rng.integers(7, 11))):  # anal columns run up to the shaft
        across = np.angle(np.exp(1j * (angle - k * 0.7 - rng.normal(0, 0.12))))
        radius = radius - 0.09 * np.exp(-((across / 0.13) ** 2)) * np.clip((depth - 2.0) / 1.0, 0, 1) * np.clip(radius, 0, 1)
    radius = radius - 0.4 * np.clip(np.cos(angle - rng.uniform(0, 6)) + 0.2, 0, 1) * _crest(depth, 0.9, 0.25)
    return {"radius": np.maximum(radius, 0.0), "tissue": "colonic", "bend": 0.01, "first_depth": 0.6, "last_depth": 1.6, "shaft": True}


def _oesophagus(rng: np.random.Generator) -> dict[str, object]:
    """A smooth tube with shallow folds along it and palisade vessels."""
    depth, angle = _rows(16)
    num_folds, phase = int(rng.integers(4, 7)), rng.uniform(0, 6)
    pleat = np.cos(num_folds * angle + phase + 0.25 * np.sin(0.5 * depth))
    ring = 0.08 * np.exp(-(((depth - 3.5 - 3.2 * np.round((depth - 3.5) / 3.2)) / 0.3) ** 2))
    radius = 0.82 + _smooth_ring(rng, 2, 0.05) - (0.05 + 0.018 * depth.clip(0, 6)) * np.clip(pleat, -0.3, 1) - ring
    return {"radius": np.maximum(radius, 0.2), "tissue": "squamous", "bend": 0.018, "last_depth": 6.0}


def _z_line(rng: np.random.Generator) -> dict[str, object]:
    """Squamous mucosa that ends in a jagged line; gastric mucosa with its folds beyond a narrowing."""
    depth, angle = _rows(11)
    at = 4.2
    pinch = 0.40 * np.exp(-(((depth - at - 0.9) / 0.8) ** 2))
    pleat = np.cos(int(rng.integers(6, 9)) * angle + rng.uniform(0, 6))
    rosette = 0.16 * np.clip(pleat, -0.4, 1) * np.clip((depth - at + 0.6) / 1.0, 0, 1) * np.clip((at + 3.0 - depth) / 1.5, 0, 1)
    radius = 0.88 + _smooth_ring(rng, 2, 0.05) - pinch - rosette + 0.3 * np.clip((depth - at - 1.6) / 1.5, 0, 1)
    teeth = np.abs(np.interp(np.arange(NUM_ANGLES), np.linspace(0, NUM_ANGLES, 14), np.r_[(e := rng.normal(0, 0.34, 13)), e[0]]))
    border = np.asarray(at - 0.5 - teeth + _smooth_ring(rng, 3, 0.1), dtype=np.float32)
    parts = {"radius": np.maximum(radius, 0.12), "tissue": "squamous", "far_tissue": "gastric", "border": border}
    return parts | {"bend": 0.012, "first_depth": 1.9, "last_depth": 3.1}


def _pylorus(rng: np.random.Generator) -> dict[str, object]:
    """The antrum converges on a small round hole with a raised rim."""
    depth, angle = _rows(12)
    at = 5.0
    funnel = np.clip(1 - np.clip((depth - (at - 1.9)) / 1.9, 0, 1) ** 2.0, 0, 1) ** 0.55
    hole = 0.17 + 0.03 * np.cos(3 * angle + rng.uniform(0, 6)) + _smooth_ring(rng, 3, 0.008)
    radius = hole + (1.3 + _smooth_ring(rng, 3, 0.06) - hole) * funnel
    rim = 0.07 * np.exp(-(((radius - hole - 0.12) / 0.06) ** 2)) * (depth < at)
    pleat = np.clip(np.cos(int(rng.integers(7, 11)) * angle + rng.uniform(0, 6)), 0, 1)
    radius = radius - rim - 0.10 * pleat * np.clip((depth - 3.4) / 1.2, 0, 1) * np.clip((radius - hole) / 0.5, 0, 1)
    for ring in (1.2, 2.5):
        radius = radius - rng.uniform(0.08, 0.2) * _crest(depth, ring + _smooth_ring(rng, 2, 0.1), 0.28)
    return {"radius": np.maximum(radius, 0.06), "tissue": "gastric", "bend": 0.012, "first_depth": 1.6, "last_depth": 3.6}


def _duodenum(rng: np.random.Generator) -> dict[str, object]:
    """Closely spaced complete circular folds covered with villi."""
    depth, _ = _rows(16)
    radius = np.full((depth.shape[0], NUM_ANGLES), 0.98, dtype=np.float32) + _smooth_ring(rng, 3, 0.05)
    at = 0.2
    while at < 16:
        wave = at + _smooth_ring(rng, 4, 0.07)
        _add_fold(radius, wave, 0.06, (rng.uniform(0.15, 0.24) + _smooth_ring(rng, 3, 0.03))[None, :])
        at += rng.uniform(0.26, 0.42)
    return {"radius": radius, "tissue": "villous", "bend": 0.06, "last_depth": 6.0}


_BUILDERS: dict[str, Callable[[np.random.Generator], dict[str, object]]] = {
    "descending_colon": _descending_colon,
    "transverse_colon": _transverse_colon,
    "caecum": _caecum,
    "ileum": _ileum,
    "rectum_retroflex": _rectum_retroflex,
    "oesophagus": _oesophagus,
    "z_line": _z_line,
    "pylorus": _pylorus,
    "duodenum": _duodenum,
}


def _draw_polyp(rng: np.random.Generator, depth: float, radius_map: Map) -> Polyp:
    pedunculated = rng.random() < 0.3
    radius = rng.uniform(0.12, 0.19) if pedunculated else rng.uniform(0.15, 0.34)
    angle = float(rng.uniform(0, 2 * np.pi))
    wall = float(radius_map[int(depth / ROW_STEP), int(angle / (2 * np.pi) * NUM_ANGLES) % NUM_ANGLES])
    return Polyp(
        angle=angle,
        wall=wall,
        depth=depth,
        radius=float(radius),
        elongation=float(rng.uniform(0.8, 1.4)),
        height=float(radius * (1.0 if pedunculated else rng.uniform(0.6, 1.0))),
        stalk=float(rng.uniform(0.15, 0.4)) if pedunculated else 0.0,
        seed=int(rng.integers(2**31)),
    )


def dome_radius(polyp: Polyp, angle: npt.NDArray[Any], depth: npt.NDArray[Any]) -> tuple[Map, Map]:
    """Where a radial ray from the axis meets a sessile polyp: an ellipsoid whose centre lies on the wall.

    Args:
        polyp: sessile.
        angle: of the ray, any shape.
        depth: of the ray, same shape.

    Returns:
        distance of the polyp's surface from the axis, and a margin that is above 0 where the ray meets the polyp, up to 1 at its middle.
    """
    turn = angle - np.float32(polyp.angle)
    cos, sin = np.cos(turn), np.sin(turn)
    tilt = np.float32((polyp.seed % 9 - 4) * 0.07) * turn  # outlines lean a little, each its own way
    left = 1 - ((depth - np.float32(polyp.depth) + tilt) / np.float32(polyp.radius * polyp.elongation)) ** 2
    curve = cos**2 / polyp.height**2 + sin**2 / polyp.radius**2
    middle = polyp.wall * cos / polyp.height**2
    discriminant = middle**2 - curve * (polyp.wall**2 / polyp.height**2 - left)
    surface = (middle - np.sqrt(np.clip(discriminant, 0, None))) / curve
    margin = np.where(cos > 0, discriminant / curve, -1)
    return np.asarray(surface, dtype=np.float32), np.asarray(margin, dtype=np.float32)


def _raise_polyp(radius: Map, polyp: Polyp) -> Map:
    """Push a sessile polyp into the lumen."""
    depth = np.arange(radius.shape[0], dtype=np.float32)[:, None] * ROW_STEP + np.zeros_like(radius)
    angle = np.arange(NUM_ANGLES, dtype=np.float32)[None, :] * np.float32(2 * np.pi / NUM_ANGLES) + np.zeros_like(radius)
    surface, margin = dome_radius(polyp, angle, depth)
    return np.asarray(np.where(margin > 0, np.minimum(surface, radius), radius), dtype=np.float32)


def build_scene(station: str, *, seed: int, grade: int = 0, num_polyps: int = 0) -> Scene:
    """Build one station.

    Args:
        station: one of `STATIONS`.
        seed: places folds and polyps.
        grade: inflammation 0 to 3; inflamed colon loses its folds.
        num_polyps: polyps along the part that the camera passes.
    """
    if station not in _BUILDERS:
        raise ValueError(f"got station {station!r}, expected one of {', '.join(STATIONS)}")
    rng = np.random.default_rng([seed, STATIONS.index(station), 4])
    parts = _BUILDERS[station](rng)
    radius = np.asarray(parts.pop("radius"), dtype=np.float32)
    if grade:
        radius = radius + (cv2.blur(radius, (1, 61)) - radius) * np.float32(0.22 * grade)
    first, last = float(parts.pop("first_depth", 0.3)), float(parts.pop("last_depth"))  # type: ignore[arg-type]
    places = np.linspace(first + 1.3, last + 1.9, num_polyps + 1)[:-1] + rng.uniform(0, 0.5, num_polyps)
    polyps = tuple(_draw_polyp(rng, float(place), radius) for place in places)
    for polyp in polyps:
        if polyp.stalk == 0:
            radius = _raise_polyp(radius, polyp)
    wrapped = np.pad(radius, ((0, 0), (1, 1)), mode="wrap")
    turn = (wrapped[:, 2:] - wrapped[:, :-2]) * NUM_ANGLES / (4 * np.pi) / np.maximum(radius, 0.1)
    mean_slope = np.abs(np.gradient(cv2.blur(radius.mean(axis=1, keepdims=True), (1, 9))[:, 0], ROW_STEP))
    closes = station in {"caecum", "pylorus", "rectum_retroflex"}
    end_wall = np.clip((mean_slope - 0.5) / 0.8, 0, 1) if closes else np.zeros_like(mean_slope)
    return Scene(
        station=station,
        radius=radius,
        turn=np.asarray(turn, dtype=np.float32),
        end_wall=np.asarray(np.maximum.accumulate(end_wall) if closes else end_wall, dtype=np.float32),
        first_depth=first,
        last_depth=last,
        polyps=polyps,
        **parts,  # type: ignore[arg-type]
    )

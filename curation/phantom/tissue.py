"""Mucosa as a periodic texture: noise layers, vessels, and the four grades of inflammation composed from them.

A tile covers 2 pi by 2 pi in units of the lumen's radius, so it wraps around the circumference and along the lumen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["TILE_SIDE", "TissueKind", "TissueLayers", "compose_tile", "draw_layers"]

TILE_SIDE = 768
TILE_MARGIN = 4
"""pixels repeated on each side, so that interpolation never sees a seam"""

TissueKind = Literal["colonic", "villous", "squamous", "gastric", "polyp"]
Layer = npt.NDArray[np.float32]


def _color(red: float, green: float, blue: float) -> Layer:
    """(3, 1, 1): images here are planes, (3, 768, 768), which NumPy multiplies several times as fast as pixels of three values."""
    return np.array([red, green, blue], dtype=np.float32).reshape(3, 1, 1)


_BASE_COLOR = _color(0.90, 0.58, 0.47)
_WHITE = _color(1, 1, 1)
_KIND_TINT: dict[str, npt.NDArray[np.float32]] = {
    "squamous": _color(1.04, 1.22, 1.22),
    "gastric": _color(1.0, 0.86, 0.84),
    "polyp": _color(1.02, 0.80, 0.80),
}
_VESSEL_TINT = _color(0.70, 0.40, 0.42)
_ERYTHEMA_TINT = _color(0.98, 0.66, 0.66)
_FIBRIN = _color(0.93, 0.88, 0.68)
_BLOOD = _color(0.46, 0.04, 0.04)

# visibility of vessels, erythema, granularity, numbers of erosions, ulcers and bleeding spots: the signs of the Mayo endoscopic subscore
_GRADE_SIGNS: dict[int, tuple[float, float, float, int, int, int]] = {
    0: (1.0, 0.0, 0.0, 0, 0, 0),
    1: (0.35, 0.45, 0.35, 0, 0, 0),
    2: (0.0, 0.8, 1.0, 46, 0, 8),
    3: (0.0, 0.9, 1.2, 24, 13, 34),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueLayers:
    """Noise of one patient, each (768, 768), zero mean and unit variance; vessels and palisade are opacities in [0, 1]."""

    blotches: Layer
    folds: Layer
    grain: Layer
    cells: Layer
    gloss: Layer
    vessels: Layer
    palisade: Layer


def _band(spectrum: npt.NDArray[np.complex128], period: float, width: float) -> Layer:
    """Periodic noise whose features have about `period` pixels; `width` is the relative bandwidth in octaves."""
    fy = np.fft.fftfreq(TILE_SIDE)[:, None]
    fx = np.fft.rfftfreq(TILE_SIDE)[None, :]
    frequency = np.sqrt(fy**2 + fx**2)
    frequency[0, 0] = 1e-6
    gain = np.exp(-0.5 * (np.log2(frequency * period) / width) ** 2)
    layer = np.fft.irfft2(spectrum * gain, s=(TILE_SIDE, TILE_SIDE))
    return np.asarray((layer - layer.mean()) / layer.std(), dtype=np.float32)


def _branch(
    rng: np.random.Generator, canvas: npt.NDArray[np.uint8], start: npt.NDArray[np.float64], angle: float, width: float, depth: int
) -> None:
    """Draw one vessel as a wandering line and its daughters, thinner by Murray's law (cube root of two)."""
    num_steps = int(rng.integers(7, 15))
    angles = angle + np.cumsum(rng.normal(0, 0.22, num_steps))
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (5.0 + 2.2 * width)
    points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    opacity = int(np.clip(70 + 55 * width, 0, 255))
    line = np.round(points * 8).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [line], False, opacity, max(1, round(width)), cv2.LINE_AA, 3)
    if depth == 0:
        return
    for fork in (int(num_steps * rng.uniform(0.35, 0.6)), num_steps):
        turn = rng.uniform(0.3, 0.9) * rng.choice([-1.0, 1.0])
        _branch(rng, canvas, points[fork], float(angles[fork - 1] + turn), width / 1.26, depth - 1)


def _fold_canvas(canvas: npt.NDArray[np.uint8]) -> Layer:
    """Wrap a 3 x 3 tiles canvas onto its middle tile."""
    return np.asarray(canvas.reshape(3, TILE_SIDE, 3, TILE_SIDE).max(axis=(0, 2)) / np.float32(255), dtype=np.float32)


def _vessels(rng: np.random.Generator) -> Layer:
    canvas = np.zeros((3 * TILE_SIDE, 3 * TILE_SIDE), dtype=np.uint8)
    for _ in range(34):
        start = TILE_SIDE + rng.uniform(0, TILE_SIDE, 2)
        _branch(rng, canvas, start, rng.uniform(0, 2 * np.pi), rng.uniform(1.6, 3.2), 4)
    return np.asarray(cv2.GaussianBlur(_fold_canvas(canvas), (0, 0), 0.8), dtype=np.float32)


def _palisade(rng: np.random.Generator) -> Layer:
    """Fine parallel vessels along the lumen, as in the lower oesophagus."""
    canvas = np.zeros((3 * TILE_SIDE, 3 * TILE_SIDE), dtype=np.uint8)
    for _ in range(90):
        start = TILE_SIDE + rng.uniform(0, TILE_SIDE, 2)
        angles = np.pi / 2 + np.cumsum(rng.normal(0, 0.05, 40)) * 0.5
        points = start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1) * 8, axis=0)
        cv2.polylines(
            canvas, [np.round(points * 8).astype(np.int32).reshape(-1, 1, 2)], False, int(rng.integers(60, 150)), 1, cv2.LINE_AA, 3
        )
    return np.asarray(cv2.GaussianBlur(_fold_canvas(canvas), (0, 0), 0.9), dtype=np.float32)


def draw_layers(seed: int) -> TissueLayers:
    """All noise of one patient; the same seed gives the same layers."""
    rng = np.random.default_rng([seed, 2])
    noise = [np.fft.rfft2(rng.standard_normal((TILE_SIDE, TILE_SIDE))) for _ in range(3)]
    return TissueLayers(
        blotches=_band(noise[0], 170.0, 0.7),
        folds=_band(noise[1], 42.0, 0.6),
        grain=_band(noise[0], 7.0, 0.8),
        cells=_band(noise[2], 8.0, 0.28),
        gloss=_band(noise[1], 12.0, 0.6),
        vessels=_vessels(rng),
        palisade=_palisade(rng),
    )


def _relief(height: Layer) -> Layer:
    """Shading of small relief by a light that comes from the camera, that is from smaller z."""
    return np.asarray(np.roll(height, -1, axis=0) - np.roll(height, 1, axis=0), dtype=np.float32)


def _spots(rng: np.random.Generator, layers: TissueLayers, num: int, radius: tuple[float, float], ragged: float) -> Layer:
    """Opacity of irregular spots: smooth bumps whose outline is pushed about by the patient's noise."""
    field = np.zeros((TILE_SIDE, TILE_SIDE), dtype=np.float32)
    for _ in range(num):
        center = rng.integers(0, TILE_SIDE, 2)
        r = rng.uniform(*radius)
        stretch = rng.uniform(0.6, 1.7)
        reach = int(3 * r * max(stretch, 1 / stretch))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        bump = np.exp(-0.5 * ((x / (r * stretch)) ** 2 + (y * stretch / r) ** 2))
        rows, cols = (center[0] + np.arange(-reach, reach + 1)) % TILE_SIDE, (center[1] + np.arange(-reach, reach + 1)) % TILE_SIDE
        view = np.ix_(rows, cols)
        field[view] = np.maximum(field[view], bump)
    pushed = field + ragged * (0.6 * layers.folds + 0.4 * layers.grain) * (field > 0.05)
    return np.asarray(np.clip((pushed - 0.5) * 7, 0, 1), dtype=np.float32)


def _mix(image: Layer, color: Layer, opacity: Layer) -> Layer:
    return np.asarray(image + (color - image) * opacity, dtype=np.float32)


def compose_tile(layers: TissueLayers, kind: TissueKind, *, grade: int = 0, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Reflectance and gloss of one kind of mucosa.

    Args:
        layers: the patient's noise.
        kind: which mucosa; only colonic mucosa has grades above 0.
        grade: 0 to 3, shaped like the Mayo endoscopic subscore (Schroeder et al., NEJM 1987): 0 a clear vascular pattern, 1 erythema and
            a decreased vascular pattern, 2 marked erythema, no vessels, erosions, 3 ulcers and bleeding.
        seed: places erosions, ulcers and blood.

    Returns:
        uint8 of shape (768 + 8, 768 + 8, 4): red, green, blue reflectance and gloss, with a repeated margin of 4 pixels.
    """
    rng = np.random.default_rng([seed, grade, 3])
    vessel_visibility, erythema, granularity, num_erosions, num_ulcers, num_bleeds = _GRADE_SIGNS[grade]
    height = 0.5 * layers.folds + 0.12 * layers.grain
    vessels, granules = layers.vessels * vessel_visibility, 0.10 * granularity
    if kind == "villous":
        height, vessels, granules = height + 0.40 * layers.cells, layers.vessels * 0.0, 0.07
    elif kind == "squamous":
        height, vessels, granules = 0.25 * layers.folds, layers.palisade * 0.8, 0.0
    elif kind == "gastric":
        height, vessels, granules = height + 0.18 * layers.cells, layers.vessels * 0.12, 0.03
    elif kind == "polyp":
        height, vessels, granules = 0.6 * layers.folds + 0.12 * layers.cells + 0.06 * layers.grain, layers.vessels * 0.12, 0.05

    granulation = 0.6 * layers.cells + 0.6 * layers.grain if kind == "colonic" else layers.cells
    shade = 1 + 0.05 * layers.blotches + 0.030 * layers.grain + 0.16 * _relief(height) + granules * granulation
    image = _BASE_COLOR * _KIND_TINT.get(kind, _WHITE) * shade
    image += (0.022 * layers.blotches + 0.012 * layers.folds) * _color(0.2, 1.0, 0.6)
    image *= 1 - (1 - _VESSEL_TINT) * (0.8 * vessels)
    if erythema:
        patchy = np.clip(0.55 + 0.45 * layers.blotches + 0.2 * layers.folds, 0, 1.3) * erythema
        image *= 1 - (1 - _ERYTHEMA_TINT) * patchy
    if num_erosions:
        spots = _spots(rng, layers, num_erosions, (4.0, 8.0), 0.10)
        halo = cv2.GaussianBlur(spots, (0, 0), 7)
        image = _mix(image, _BLOOD + 0.15, np.clip(halo * 0.9, 0, 0.6))
        image = _mix(image, _FIBRIN, spots * 0.8)
    if num_ulcers:
        spots = _spots(rng, layers, num_ulcers, (16.0, 38.0), 0.16)
        rim = np.clip(cv2.GaussianBlur(spots, (0, 0), 6) * 2.2, 0, 1) * (1 - spots)
        image = _mix(image, _BLOOD + 0.12, rim * 0.75)
        crater = _FIBRIN * (1 + 0.06 * layers.grain + 0.10 * layers.folds)
        image += (crater - image) * (spots * 0.9)
    if num_bleeds:
        image = _mix(image, _BLOOD, _spots(rng, layers, num_bleeds, (5.0, 13.0), 0.22) * 0.85)
    gloss = np.clip(0.5 + 0.14 * layers.gloss + 0.05 * layers.grain + 0.12 * layers.blotches + 0.06 * layers.folds, 0, 1)
    tile = np.round(np.concatenate([np.clip(image, 0, 1), gloss[None]]) * 255).astype(np.uint8)
    padded = np.pad(tile, ((0, 0), (TILE_MARGIN,) * 2, (TILE_MARGIN,) * 2), mode="wrap")
    return np.asarray(cv2.merge(list(padded)), dtype=np.uint8)

"""Camera parameters, the pixel grid and the few samplers that all phantom renderers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.tissue import TILE_MARGIN, TILE_SIDE, TissueKind

__all__ = ["Camera", "Image", "Tiles", "ViewGrid", "blend", "expose", "look_up", "sample_tile", "view_grid"]

Image = npt.NDArray[np.float32]
Tissue = npt.NDArray[np.uint8]
Tiles = dict[TissueKind, Tissue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the camera is and looks; screen lengths are in half sides of the view."""

    depth: float
    """position along the axis in lumen radii"""
    offset_x: float = 0.0
    """distance from the axis in lumen radii"""
    offset_y: float = 0.0
    look_x: float = 0.0
    """where the axis' far end appears on the screen"""
    look_y: float = 0.0
    roll: float = 0.0
    bend_x: float = 0.0
    """curvature of the axis ahead"""
    bend_y: float = 0.0
    focal: float = 1.0
    exposure: float = 1.0
    gloss: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewGrid:
    """Pixel centres of a square view in half sides."""

    side: int
    x: Image
    y: Image


def view_grid(side: int) -> ViewGrid:
    """Grid of a view of `side` by `side` pixels."""
    line = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(2 / side) - 1
    x, y = np.meshgrid(line, line)
    return ViewGrid(side=side, x=x, y=y)


def look_up(table: npt.NDArray[Any], x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Image:
    """Bilinear samples of a float32 table at columns `x` and rows `y`; beyond its edge the edge is repeated."""
    return np.asarray(cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def sample_tile(tile: Tissue, u: npt.NDArray[Any], v: npt.NDArray[Any]) -> Tissue:
    """Look up a periodic tile at texture coordinates in lumen radii."""
    scale = np.float32(TILE_SIDE / (2 * np.pi))
    u, v = u * scale, v * scale
    u -= np.floor(u * np.float32(1 / TILE_SIDE)) * np.float32(TILE_SIDE) - np.float32(TILE_MARGIN)
    v -= np.floor(v * np.float32(1 / TILE_SIDE)) * np.float32(TILE_SIDE) - np.float32(TILE_MARGIN)
    return np.asarray(cv2.remap(tile, u, v, cv2.INTER_LINEAR), dtype=np.uint8)


def blend(first: Tissue, second: Tissue, weight: npt.NDArray[Any]) -> Tissue:
    """Mix two tissues; weight 1 is all of the second."""
    weight = np.ascontiguousarray(weight, dtype=np.float32)
    return np.asarray(cv2.blendLinear(first, second, 1 - weight, weight), dtype=np.uint8)


def expose(light: npt.NDArray[Any]) -> Image:
    """Sensor response: linear in the dark, rolling off towards white."""
    return np.asarray(1.45 * (1 - cv2.exp(np.float32(-0.8) * light)), dtype=np.float32)

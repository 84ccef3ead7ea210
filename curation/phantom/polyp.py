"""Polyps: half ellipsoids raised from the wall, or balls on a stalk, each with an exact mask."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.camera import Camera, Image, Tissue, ViewGrid, blend, expose, look_up, sample_tile
from curation.phantom.scene import NUM_ANGLES, ROW_STEP, Polyp, Scene, dome_radius

__all__ = ["cover_sessile", "draw_stalked"]

_FARTHEST = 2.8
"""lumen radii ahead beyond which a polyp is lost in the dark and is not counted as seen"""
_LEAST_AREA = 0.001
"""share of the view below which a glimpse of a polyp is not counted either"""


def cover_sessile(
    polyp: Polyp, scene: Scene, camera: Camera, tissue: Tissue, turn: Image, depth: Image, mask: npt.NDArray[np.bool_], tile: Tissue
) -> None:
    """Give a sessile polyp's surface its own texture and add it to the mask; both in place.

    Args:
        polyp: sessile, part of the scene's radius map.
        scene: the station.
        camera: of this view.
        tissue: (side, side, 4) as rendered so far.
        turn: (side, side) angle of the wall point seen.
        depth: (side, side) its distance ahead.
        mask: (side, side).
        tile: texture of polyps.
    """
    reach = polyp.radius * polyp.elongation
    if not -reach < polyp.depth - camera.depth < _FARTHEST:
        return
    z = depth + np.float32(camera.depth)
    near = np.abs(z - np.float32(polyp.depth)) < reach
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if rows.size == 0:
        return
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    angle, z = np.ascontiguousarray(turn[window]), np.ascontiguousarray(z[window])
    dome, margin = dome_radius(polyp, angle, z)
    wall = look_up(
        np.pad(scene.radius, ((0, 0), (0, 1)), mode="wrap"), angle * np.float32(NUM_ANGLES / (2 * np.pi)), z * np.float32(1 / ROW_STEP)
    )
    # the map is the nearer of wall and dome: where it is nearer than the dome, a fold hides the polyp
    inside = ((margin > 0) & (dome < wall + 0.05)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), dtype=np.uint8)).astype(np.uint8)
    if np.count_nonzero(inside) < _LEAST_AREA * mask.size:
        return
    shift = np.float32(polyp.seed % 7)
    covered = sample_tile(tile, angle * np.float32(1.2) + shift, z * np.float32(1.2) - dome * np.float32(0.8))
    tissue[window] = blend(np.ascontiguousarray(tissue[window]), covered, np.clip(margin * 4, 0, 1) * inside)
    mask[window] |= inside > 0


def _project(polyp: Polyp, camera: Camera, radial: float, ahead: float) -> tuple[float, float, float]:
    """Screen position and distance of a point at the polyp's angle."""
    x = radial * math.cos(polyp.angle) - camera.offset_x - camera.bend_x * ahead**2
    y = radial * math.sin(polyp.angle) - camera.offset_y - camera.bend_y * ahead**2
    distance = math.sqrt(x**2 + y**2 + ahead**2)
    scale = 2 * camera.focal / (ahead + distance)
    cos, sin = math.cos(camera.roll) * scale, math.sin(camera.roll) * scale
    return x * cos + y * sin + camera.look_x, y * cos - x * sin + camera.look_y, distance


def draw_stalked(
    polyp: Polyp,
    scene: Scene,
    camera: Camera,
    grid: ViewGrid,
    image: npt.NDArray[Any],
    depth: Image,
    mask: npt.NDArray[np.bool_],
    tile: Tissue,
    gain: float,
) -> None:
    """Draw a pedunculated polyp over the image, hidden by anything nearer; image and mask change in place."""
    ahead = polyp.depth - camera.depth
    if not 0.35 < ahead < _FARTHEST:
        return
    row = min(int(polyp.depth / ROW_STEP), scene.radius.shape[0] - 1)
    wall = float(scene.radius[row, int(polyp.angle / (2 * math.pi) * NUM_ANGLES) % NUM_ANGLES])
    head_x, head_y, distance = _project(polyp, camera, max(wall - polyp.stalk - polyp.radius, 0.0), ahead - 0.08)
    foot_x, foot_y, _ = _project(polyp, camera, wall + 0.02, ahead + 0.10)
    size = camera.focal * polyp.radius / distance
    half, reach = grid.side / 2, 1.7 * size
    left, right = (int(min(max(edge * half, 0), grid.side)) for edge in (min(head_x, foot_x) - reach + 1, max(head_x, foot_x) + reach + 1))
    top, bottom = (int(min(max(edge * half, 0), grid.side)) for edge in (min(head_y, foot_y) - reach + 1, max(head_y, foot_y) + reach + 1))
    if right - left < 4 or bottom - top < 4:
        return
    window = (slice(top, bottom), slice(left, right))
    x, y = grid.x[window] - np.float32(head_x), grid.y[window] - np.float32(head_y)
    visible = depth[window] > ahead - 0.25

    foot = (np.float32(foot_x - head_x), np.float32(foot_y - head_y))
    along = (x * foot[0] + y * foot[1]) / (foot[0] ** 2 + foot[1] ** 2 + np.float32(1e-6))
    inside = np.clip(along, 0, 1)
    across = np.hypot(x - inside * foot[0], y - inside * foot[1]) / (np.float32(size) * (0.28 + 0.3 * inside**3))
    stalk = (across < 1) & (along < 1.05) & visible
    angle = np.arctan2(y, x)
    lobes = polyp.seed % 4 + 3
    outline = np.float32(size) * (1 + 0.06 * np.sin(lobes * angle + polyp.seed % 6) + 0.025 * np.sin((2 * lobes + 1) * angle))
    square = (x**2 + y**2) / outline**2
    head = (square < 1) & visible

    texture = sample_tile(tile, x / np.float32(size * 1.1), y / np.float32(size * 1.1)).astype(np.float32) / 255
    height = np.sqrt(np.clip(1 - square, 0, 1))
    tone = np.where(head, 0.35 + 0.65 * height, 0.25 + 0.5 * np.sqrt(np.clip(1 - across**2, 0, 1)))
    shaded = texture[..., :3] * expose(tone.astype(np.float32) * np.float32(1.4 * gain / (0.35 + distance**2)))[..., None]
    shine = np.clip((height + 0.25 * (texture[..., 3] - 0.5) - 0.985) * 30, 0, 1) * head * camera.gloss
    shaded += shine[..., None].astype(np.float32)
    both = head | stalk
    if np.count_nonzero(both) < _LEAST_AREA * mask.size:
        return
    image[window][both] = shaded[both]
    mask[window] |= both

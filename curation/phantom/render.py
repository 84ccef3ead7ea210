"""Camera and light: turns a scene into pixels, with hidden surfaces removed exactly.

Rays at one angle around the viewing axis lie in a half-plane that cuts the wall in one curve, radius over depth. Projected, the visible
part of that curve is where it is a new minimum going away from the camera. One running minimum over a table (depth x angle) thus finds,
for every angle and screen radius, the depth that is seen, also where a bend carries the wall across the axis; pixels look up that table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.camera import Camera, Image, Tiles, Tissue, ViewGrid, blend, expose, look_up, sample_tile
from curation.phantom.polyp import cover_sessile, draw_stalked
from curation.phantom.scene import NUM_ANGLES, ROW_STEP, Scene

__all__ = ["View", "render_view"]

_NUM_DEPTHS = 176
_NEAREST, _FARTHEST = 0.04, 10.0
_DEPTHS = np.geomspace(_NEAREST, _FARTHEST, _NUM_DEPTHS).astype(np.float32)
_INVERSE_STEPS = (1 / np.diff(_DEPTHS))[:, None]
_NUM_RADII = 240
_LARGEST_RADIUS = 1.9
_ANGLES = np.arange(NUM_ANGLES, dtype=np.float32) * np.float32(2 * np.pi / NUM_ANGLES)
_COS, _SIN = np.cos(_ANGLES)[None, :], np.sin(_ANGLES)[None, :]
_RADII = (np.arange(_NUM_RADII, dtype=np.float32) * np.float32(_LARGEST_RADIUS / _NUM_RADII))[None, :]
_OPPOSITE = (np.arange(NUM_ANGLES) + NUM_ANGLES // 2) % NUM_ANGLES
_TURN = np.float32(2 * np.pi)
_OUTSHINING = 0.6  # of white


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One rendered view."""

    image: Image
    """(side, side, 3) RGB reflectance times light; may exceed 1"""
    polyp: npt.NDArray[np.bool_]
    """(side, side): True on a polyp"""
    specular: npt.NDArray[np.bool_]
    """(side, side): True where the wall mirrors the lamp, outshining what it shows"""


def _gather(rows: npt.NDArray[np.int64], weight: Image, table: Image) -> Image:
    return np.asarray(table[rows] * (1 - weight) + table[rows + 1] * weight, dtype=np.float32)


def _surface(scene: Scene, camera: Camera) -> tuple[Image, Image]:
    """Projection and shading of the wall at the sampled depths.

    Returns:
        lowest screen radius up to each depth (depths, angles), negative where the wall has crossed the axis, and the table
        (depths, angles + 1, 4) of light, facing, texture coordinate along the wall and depth.
    """
    position = np.clip((camera.depth + _DEPTHS) / np.float32(ROW_STEP), 0, scene.radius.shape[0] - 2)
    rows = position.astype(np.int64)
    weight = (position - rows).astype(np.float32)
    depth = _DEPTHS[:, None]
    radius = _gather(rows, weight[:, None], scene.radius)
    turn = _gather(rows, weight[:, None], scene.turn)
    shift_x = camera.offset_x + camera.bend_x * depth**2
    shift_y = camera.offset_y + camera.bend_y * depth**2
    seen = radius - shift_x * _COS - shift_y * _SIN
    slope = np.empty_like(seen)  # backward differences: a sample that hides nothing then always faces the camera
    np.subtract(seen[1:], seen[:-1], out=slope[1:])
    slope[1:] *= _INVERSE_STEPS
    slope[0] = slope[1]
    distance = np.sqrt(seen**2 + depth**2)
    screen = np.float32(2 * camera.focal) * seen / (depth + distance)
    facing = (seen - slope * depth) / (np.sqrt(1 + turn**2 + slope**2) * distance)
    np.clip(facing, 0, 1, out=facing)
    light = (0.68 * facing + 0.32) / (0.35 + distance**2)
    light *= np.clip((7 - depth) / 5, 0, 1)  # far folds are finer than the samples: let them fade into the dark
    light *= 1 + 0.4 * np.clip(1 - radius, -0.4, 0.7)  # crests are paler: less blood, more scattered light
    light = cv2.GaussianBlur(np.pad(light, ((0, 0), (2, 2)), mode="wrap"), (5, 1), 0)[:, 2:-2].copy()
    light[-1] = 0  # what is beyond all samples
    table = np.empty((_NUM_DEPTHS, NUM_ANGLES + 1, 4), dtype=np.float32)
    table[:, :-1, 0], table[:, :-1, 1] = light, facing
    # the wall's length is depth on the tube and radius on a fold's face: their sum keeps texture from stretching on either
    table[:, :-1, 2] = camera.depth + depth + 1 - radius
    table[:, :, 3] = depth
    lowest = np.minimum.accumulate(screen, axis=0)
    _take_from_visible(table, screen > lowest)
    table[:, -1] = table[:, 0]
    return np.asarray(lowest, dtype=np.float32), table


def _take_from_visible(table: Image, hidden: npt.NDArray[np.bool_]) -> None:
    """Give every hidden sample the values of the nearest seen one: the crest that hides it or the wall that appears beyond; in place.

    Interpolation across a silhouette passes through hidden samples; without this it would paint their shading around every fold.
    """
    number = np.arange(_NUM_DEPTHS, dtype=np.int16)[:, None]
    crest = np.maximum.accumulate(np.where(hidden, np.int16(0), number), axis=0)
    beyond = np.minimum.accumulate(np.where(hidden, np.int16(_NUM_DEPTHS - 1), number)[::-1], axis=0)[::-1]
    depths, angles = np.nonzero(hidden)
    before, after = crest[depths, angles].astype(np.int64), beyond[depths, angles].astype(np.int64)
    nearest = np.where(2 * depths < before + after, np.maximum(before - 1, 0), after)  # the crest itself is seen edge-on
    facing = table[depths, angles, 1]
    table[depths, angles] = table[nearest, angles]
    table[depths, angles, 1] = facing  # hidden samples face away: no glare along silhouettes


def _visible(lowest: Image) -> tuple[Image, npt.NDArray[np.bool_]]:
    """First depth sample seen at every angle and screen radius.

    Returns:
        fractional index of the depth, (angles + 1, radii), and whether the wall seen is that of the opposite angle.
    """
    lowest = np.ascontiguousarray(lowest.T)
    scale = np.float32(_NUM_RADII / _LARGEST_RADIUS)
    bins = np.ceil(lowest * scale).clip(-_NUM_RADII, _NUM_RADII).astype(np.int64) + _NUM_RADII
    width = 2 * _NUM_RADII + 1
    bins += np.arange(NUM_ANGLES)[:, None] * width
    histogram = np.bincount(bins.ravel(), minlength=NUM_ANGLES * width).reshape(NUM_ANGLES, width)
    num_outside = _NUM_DEPTHS - np.cumsum(histogram, axis=1)
    own = num_outside[:, _NUM_RADII : 2 * _NUM_RADII]
    other = num_outside[_OPPOSITE, _NUM_RADII:0:-1]
    crossed = other < own
    row = np.arange(NUM_ANGLES)[:, None] * _NUM_DEPTHS
    flat = lowest.ravel()
    if crossed.any():
        index = np.where(crossed, other, own).clip(1, _NUM_DEPTHS - 1)
        at = np.where(crossed, row[_OPPOSITE], row) + index
        sign = np.where(crossed, np.float32(-1), np.float32(1))
        before, after = sign * flat[at - 1], sign * flat[at]
    else:
        index = own.clip(1, _NUM_DEPTHS - 1)
        at = row + index
        before, after = flat[at - 1], flat[at]
    gap = before - after
    fraction = np.where(np.abs(gap) > 1e-6, (before - _RADII) / np.where(gap == 0, np.float32(1), gap), np.float32(1)).clip(0, 1)
    depth_index = (index - 1 + fraction).astype(np.float32)
    # on smooth wall the index is close to linear, so this changes only silhouettes, where the table's steps would show as teeth
    depth_index = cv2.GaussianBlur(np.pad(depth_index, ((2, 3), (0, 0)), mode="wrap"), (5, 5), 1.0)[2:-2].astype(np.float32)
    return np.ascontiguousarray(depth_index), np.concatenate([crossed, crossed[:1]])


def _end_wall(scene: Scene, camera: Camera, tile: Tissue, tissue: Tissue, index: Image, turn: Image) -> None:
    """Lay texture flat on a wall that faces the camera, where angles would pinch it, and draw the appendix orifice; in place."""
    position = np.clip((camera.depth + _DEPTHS) / np.float32(ROW_STEP), 0, scene.radius.shape[0] - 2)
    rows = position.astype(np.int64)
    weight = (position - rows).astype(np.float32)[:, None]
    table = np.empty((_NUM_DEPTHS, NUM_ANGLES + 1, 2), dtype=np.float32)
    table[:, :-1, 0] = _gather(rows, weight, scene.radius)
    table[:, -1, 0] = table[:, 0, 0]
    table[:, :, 1] = scene.end_wall[rows][:, None]
    first = np.flatnonzero(scene.end_wall[rows] > 0)
    on_wall = index >= first[0] - 1 if first.size else np.zeros(index.shape, dtype=np.bool_)
    if not on_wall.any():
        return
    down, right = np.flatnonzero(on_wall.any(axis=1)), np.flatnonzero(on_wall.any(axis=0))
    window = (slice(down[0], down[-1] + 1), slice(right[0], right[-1] + 1))
    angle = np.ascontiguousarray(turn[window])
    samples = look_up(table, angle * np.float32(NUM_ANGLES / (2 * np.pi)), np.ascontiguousarray(index[window]))
    radius, facing = samples[..., 0], samples[..., 1]
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    flat = blend(np.ascontiguousarray(tissue[window]), sample_tile(tile, x + np.float32(3), y + np.float32(3)), facing)
    if scene.orifice is not None:
        flat = _draw_orifice(scene.orifice, flat, x, y, facing > 0.05)
    tissue[window] = flat


def _draw_orifice(orifice: tuple[float, float, float], tissue: Tissue, x: Image, y: Image, on_wall: npt.NDArray[np.bool_]) -> Tissue:
    """A dark crescent with a pale lip."""
    cos, sin = np.float32(np.cos(orifice[2])), np.float32(np.sin(orifice[2]))
    x, y = x - np.float32(orifice[0]), y - np.float32(orifice[1])
    across, along = x * cos + y * sin, (y * cos - x * sin) ** 2
    crescent = (across - 1.6 * along + 0.06) ** 2 * np.float32(0.075**-2) + along * np.float32(0.24**-2)
    dark = np.minimum(0.25 / (0.15 + crescent**2), 0.93) * on_wall
    lip = np.exp(-((crescent - 2.4) ** 2)) * np.float32(0.16) * on_wall
    return np.asarray(np.clip(tissue * (1 + lip - dark)[..., None], 0, 255), dtype=np.uint8)


def _draw_shaft(image: npt.NDArray[Any], grid: ViewGrid, camera: Camera) -> None:
    """The scope's own shaft enters at the far end and leaves the view past its edge; changes the image in place."""
    cos, sin = np.float32(np.cos(camera.roll)), np.float32(np.sin(camera.roll))
    x, y = grid.x - np.float32(camera.look_x), grid.y - np.float32(camera.look_y)
    x, y = x * cos - y * sin, x * sin + y * cos
    near = (y > -0.08) & (np.abs(x - 0.16 * y**2) < 0.2 + 0.22 * np.abs(y))
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x, y = x[window], y[window]
    half_width = 0.13 + 0.15 * np.clip(y, 0, None)
    across = (x - 0.16 * y**2) / half_width
    inside = (np.abs(across) < 1) & (y > -0.06) & ((y > 0.02) | (x**2 + (y - 0.02) ** 2 < 0.018))
    tone = 0.03 + 0.10 * np.sqrt(np.clip(1 - across**2, 0, 1)) + 0.30 * np.exp(-(((across + 0.35) / 0.10) ** 2)) * np.clip(y, 0, 1)
    marks = (np.abs((np.log(np.clip(y, 0.05, 3)) * 2.2) % 1 - 0.5) < 0.035) & (across > 0.05)
    tone = np.where(marks, 0.55, tone) * np.clip(0.5 + 0.6 * y, 0, 1.2)
    opacity = np.clip((1 - np.abs(across)) * half_width * grid.side / 3, 0, 1) * inside
    shadow = np.where(inside | (y < -0.08), 1, np.clip((np.abs(across) - 1) / 0.35, 0.25, 1))
    lit = image[window] * shadow[..., None].astype(np.float32)
    image[window] = lit + (tone[..., None].astype(np.float32) - lit) * opacity[..., None].astype(np.float32)


def render_view(scene: Scene, camera: Camera, grid: ViewGrid, tiles: Tiles) -> View:
    """Render one view.

    Args:
        scene: the station.
        camera: position, direction and exposure.
        grid: of the size wanted.
        tiles: textures by kind of mucosa; `polyp` and the scene's own kinds must be there.
    """
    lowest, table = _surface(scene, camera)
    depth_index, crossed = _visible(lowest)
    polar = cv2.cartToPolar(grid.x - np.float32(camera.look_x), grid.y - np.float32(camera.look_y))
    radius = np.asarray(polar[0] * np.float32(_NUM_RADII / _LARGEST_RADIUS), dtype=np.float32)
    turn = _wrap(np.asarray(polar[1], dtype=np.float32) + np.float32(camera.roll % (2 * np.pi)))
    column = turn * np.float32(NUM_ANGLES / (2 * np.pi))
    index = look_up(depth_index, radius, column)
    if crossed.any():
        other = cv2.remap(crossed.astype(np.uint8), radius, column, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        turn = _wrap(turn + other * np.float32(np.pi))
        column = turn * np.float32(NUM_ANGLES / (2 * np.pi))
    light, facing, arc, depth = (np.asarray(plane, dtype=np.float32) for plane in cv2.split(look_up(table, column, index)))

    tissue = sample_tile(tiles[scene.tissue], turn, arc)
    if scene.border is not None and scene.far_tissue is not None:
        border = look_up(np.append(scene.border, scene.border[:1])[None, :], column, np.zeros_like(column))
        beyond = np.clip((depth + np.float32(camera.depth) - border) * 14, 0, 1)
        tissue = blend(tissue, sample_tile(tiles[scene.far_tissue], turn, arc), beyond)
    if scene.end_wall.any():
        _end_wall(scene, camera, tiles[scene.far_tissue or scene.tissue], tissue, index, turn)
    mask = np.zeros(depth.shape, dtype=np.bool_)
    for polyp in scene.polyps:
        if polyp.stalk == 0:
            cover_sessile(polyp, scene, camera, tissue, turn, depth, mask, tiles["polyp"])

    gain = camera.exposure / (float(np.percentile(light[::6, ::6], 70)) + 0.03)
    exposed = expose(light * np.float32(gain))
    shine = cv2.addWeighted(facing, 9.0, cv2.extractChannel(tissue, 3), 9 * 0.62 / 255, -9 * 1.51, dtype=cv2.CV_32F)
    shine = np.clip(shine, 0, 1) * np.minimum(exposed * np.float32(1.6 * camera.gloss), np.float32(camera.gloss))
    exposed *= np.float32(1 / 255)
    image = np.asarray(cv2.multiply(cv2.cvtColor(tissue, cv2.COLOR_BGRA2BGR), cv2.merge([exposed] * 3), dtype=cv2.CV_32F))
    image += cv2.merge([shine] * 3)
    for polyp in sorted(scene.polyps, key=lambda each: -each.depth):
        if polyp.stalk:
            draw_stalked(polyp, scene, camera, grid, image, depth, mask, tiles["polyp"], gain)
    if scene.shaft:
        _draw_shaft(image, grid, camera)
    return View(image=np.asarray(image, dtype=np.float32), polyp=mask, specular=np.asarray(shine > _OUTSHINING))


def _wrap(turn: Image) -> Image:
    """Bring angles below 4 pi into [0, 2 pi)."""
    return np.asarray(turn - (turn >= _TURN) * _TURN, dtype=np.float32)

"""Where in the picture the endoscope's image is: a circle, a polygon (most often an octagon), a rectangle or all of it.

What surrounds the image is of one colour, nearly always black, and does not change, but a single frame may be dark at its edge. So the
brightest value that a pixel takes over several frames is thresholded just above the border's own level, text is removed by a morphological
opening, and a convex shape is fitted to what remains: a scene that is dark on one side still shows most of the outline.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

__all__ = ["ContentArea", "content_mask", "find_content_area", "full_area"]

Shape = Literal["circle", "polygon", "rectangle", "full"]

_WORK_SIDE = 480
_BRIGHTEST_BORDER = 40  # of 255; a border brighter than that is taken for picture
_LEVELS_ABOVE_BORDER = 8
_BORDER_SPREAD = 10  # of 255; what compression makes of one colour
_NUM_CIRCLES = 200  # tried for each picture
_CIRCLES_AT_ONCE = 40  # more leave the core's cache
_SMALLEST_SHARE = 0.1  # of the frame; less is a dark scene, not a content area


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentArea:
    """The content area in source pixels: its bounding box (the crop) and its outline inside it."""

    x: int
    y: int
    width: int
    height: int
    shape: Shape
    geometry: tuple[float, ...] = ()
    """circle: centre x, centre y, radius; polygon: x, y of each corner in turn; else empty. In pixels of the whole frame"""


class _Box(NamedTuple):
    x: int
    y: int
    width: int
    height: int


def full_area(width: int, height: int) -> ContentArea:
    """The area that is the whole frame."""
    return ContentArea(x=0, y=0, width=width, height=height, shape="full")


def find_content_area(frames: Sequence[np.ndarray], *, size: tuple[int, int] | None = None) -> ContentArea:
    """Find the content area that several frames of one video share.

    Args:
        frames: [height, width, 3] uint8 RGB, all of one size; from different moments of the video, eight are plenty.
        size: width and height of the source where `frames` are scaled-down copies; the result is in its pixels.

    Raises:
        ValueError: there is no frame.
    """
    if not frames:
        raise ValueError("find_content_area got no frame, expected at least one; skip videos without a decodable frame")
    width, height = size or (frames[0].shape[1], frames[0].shape[0])
    scale = min(1.0, _WORK_SIDE / max(frames[0].shape[:2]))
    work = (max(1, round(frames[0].shape[1] * scale)), max(1, round(frames[0].shape[0] * scale)))
    small = [frame if frame.shape[1::-1] == work else cv2.resize(frame, work, interpolation=cv2.INTER_AREA) for frame in frames]
    brightest = _brightest(small, _border_color(small))
    border = _border_level(brightest)
    if border is None:
        return full_area(width, height)
    hull = _lit_hull(brightest > border + _LEVELS_ABOVE_BORDER)
    if hull is None:
        return full_area(width, height)
    return _fit(hull, work, (width, height))


def content_mask(area: ContentArea, shape: tuple[int, int]) -> np.ndarray:
    """The area's crop box, scaled to `shape` = (height, width), as a mask: 255 for pixels wholly inside the area, 0 elsewhere.

    With shape = (area.height, area.width) it is the mask of the unscaled crop.
    """
    height, width = shape
    if area.shape in ("full", "rectangle"):
        return np.full((height, width), 255, np.uint8)
    # the shapes are convex: a pixel is wholly inside where its four corners are
    xs = area.x + np.arange(width + 1) * (area.width / width)
    ys = (area.y + np.arange(height + 1) * (area.height / height))[:, None]
    if area.shape == "circle":
        centre_x, centre_y, radius = area.geometry
        inside = (xs - centre_x) ** 2 + (ys - centre_y) ** 2 <= radius**2
    else:
        corners = np.array(area.geometry).reshape(-1, 2)
        following = np.roll(corners, -1, axis=0)
        sides = [
            (end_x - start_x) * (ys - start_y) - (end_y - start_y) * (xs - start_x)
            for (start_x, start_y), (end_x, end_y) in zip(corners, following, strict=True)
        ]
        inside = np.minimum.reduce(sides) >= -1e-6
        if not inside.any():  # corners listed the other way round
            inside = np.maximum.reduce(sides) <= 1e-6
    whole = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]
    return np.where(whole, 255, 0).astype(np.uint8)


def _border_color(frames: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """The colour of a border that is not black: what two corners or more share and keep over time. Black where there is no such colour."""
    side = max(4, min(frames[0].shape[:2]) // 20)
    flat = []
    for rows in (slice(None, side), slice(-side, None)):
        for columns in (slice(None, side), slice(-side, None)):
            pixels = np.concatenate([frame[rows, columns].reshape(-1, 3) for frame in frames]).astype(np.int16)
            color = np.median(pixels, axis=0)
            if np.percentile(np.abs(pixels - color).max(axis=1), 90) <= _BORDER_SPREAD:
                flat.append(color)
    alike = [color for color in flat if sum(np.abs(color - other).max() <= _BORDER_SPREAD for other in flat) >= 2]
    if len(frames) < 3 or not alike or np.median(alike, axis=0).max() <= _BRIGHTEST_BORDER:
        return 0, 0, 0
    red, green, blue = (int(value) for value in np.median(alike, axis=0))
    return red, green, blue


def _brightest(frames: Sequence[np.ndarray], border: tuple[int, int, int]) -> np.ndarray:
    """Per pixel, how far its farthest channel is from the border's: the second highest over time, the highest of fewer than three."""
    stack = []
    for frame in frames:
        small = frame if border == (0, 0, 0) else cv2.absdiff(frame, np.full_like(frame, border))
        red, green, blue = cv2.split(small)
        stack.append(cv2.max(cv2.max(red, green), blue))
    values = np.stack(stack)
    chosen = np.partition(values, -2, axis=0)[-2] if len(values) >= 3 else values.max(axis=0)
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(chosen), 3))


def _border_level(brightest: np.ndarray) -> float | None:
    """How bright the border is, from the corners of the picture; None where there is no dark corner."""
    side = max(4, min(brightest.shape) // 20)
    corners = [brightest[:side, :side], brightest[:side, -side:], brightest[-side:, :side], brightest[-side:, -side:]]
    levels = sorted(float(np.percentile(corner, 90)) for corner in corners)
    dark = [level for level in levels if level <= _BRIGHTEST_BORDER]
    return float(np.median(dark)) if dark else None


def _lit_hull(lit: np.ndarray) -> np.ndarray | None:
    """Convex hull [n, 2] of the large lit regions, with text and small insets removed; None where too little is lit."""
    mask = lit.astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)
    # thicker than text and leaders, far thinner than any content area
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, min(lit.shape) // 20) | 1,) * 2)
    padded = cv2.copyMakeBorder(mask, 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    mask = np.ascontiguousarray(cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[20:-20, 20:-20])
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    areas = [cv2.contourArea(outline) for outline in outlines]
    large = [outline for outline, area in zip(outlines, areas, strict=True) if area >= 0.25 * max(areas)]
    hull = np.asarray(cv2.convexHull(np.concatenate(large))).reshape(-1, 2)
    return hull if len(hull) >= 3 and cv2.contourArea(hull) >= _SMALLEST_SHARE * lit.size else None


def _fit(hull: np.ndarray, work: tuple[int, int], size: tuple[int, int]) -> ContentArea:
    """The simplest shape that explains the hull (pixel centres of the working picture), in source pixels."""
    low, high = hull.min(axis=0), hull.max(axis=0) + 1  # pixel edges
    slack = 2
    low = np.where(low <= slack, 0, low)
    high = np.where(high >= np.array(work) - slack, work, high)
    factor = np.array(size) / work
    x0, y0 = np.floor(low * factor).astype(int)
    x1, y1 = np.ceil(high * factor).astype(int)
    box = _Box(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
    hull_area = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, True) + 1  # Pick's theorem: contourArea joins pixel centres
    if hull_area >= 0.985 * float(np.prod(high - low)):
        is_full = (box.width, box.height) == size
        return ContentArea(**box._asdict(), shape="full" if is_full else "rectangle", geometry=())
    circle = _fit_circle(hull, work)
    if circle is not None:
        centre_x, centre_y, radius = circle
        geometry = ((centre_x + 0.5) * factor[0], (centre_y + 0.5) * factor[1], (radius + 0.5) * float(factor.mean()))
        return ContentArea(
            **_circle_box(geometry, size)._asdict(), shape="circle", geometry=tuple(round(float(value), 2) for value in geometry)
        )
    corners = np.asarray(cv2.approxPolyDP(hull.astype(np.int32), 0.004 * cv2.arcLength(hull, True), True)).reshape(-1, 2)
    # pixel centres to the outer edges of the border pixels
    middle = (low + high) / 2
    edges = np.where(corners + 0.5 < middle, corners, corners + 1) * factor
    edges = np.where(corners <= slack, 0, np.where(corners + 1 >= np.array(work) - slack, size, edges))
    return ContentArea(**box._asdict(), shape="polygon", geometry=_rounded(edges.ravel()))


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in values)


def _circle_box(circle: tuple[float, float, float], size: tuple[int, int]) -> _Box:
    centre_x, centre_y, radius = circle
    x0, y0 = max(0, int(np.floor(centre_x - radius))), max(0, int(np.floor(centre_y - radius)))
    x1, y1 = min(size[0], int(np.ceil(centre_x + radius))), min(size[1], int(np.ceil(centre_y + radius)))
    return _Box(x0, y0, x1 - x0, y1 - y0)


def _fit_circle(hull: np.ndarray, work: tuple[int, int]) -> tuple[float, float, float] | None:
    """Centre and radius of the circle on which most of the hull's outline lies, where there is one.

    The picture's own border cuts many endoscopic circles, so the outline along it says nothing.
    """
    outline = _resampled(hull)
    inside = ((outline > 2) & (outline < np.array(work) - 3)).all(axis=1)
    points = outline[inside]
    if len(points) < 40:
        return None
    circles = _circles_through(points[_triples(len(points))])
    circles = circles[(0.2 * min(work) <= circles[:, 2]) & (circles[:, 2] <= max(work))]
    best: tuple[int, np.ndarray] | None = None
    for start in range(0, len(circles), _CIRCLES_AT_ONCE):
        some = circles[start : start + _CIRCLES_AT_ONCE, :, None]
        right, down = points[:, 0] - some[:, 0], points[:, 1] - some[:, 1]
        distance = np.abs(np.sqrt(right * right + down * down) - some[:, 2])  # numpy's hypot takes three times as long
        near = distance <= np.maximum(1.5, 0.012 * some[:, 2])
        counts = np.count_nonzero(near, axis=1)
        first = int(counts.argmax())
        if best is None or counts[first] > best[0]:
            best = int(counts[first]), near[first]
    if best is None or best[0] < 0.55 * len(points):
        return None
    centre_x, centre_y, radius = _least_squares_circle(points[best[1]])
    overshoot = np.hypot(*(points - (centre_x, centre_y)).T) - radius
    if overshoot.max() > max(3.0, 0.03 * radius):
        return None
    ys, xs = np.mgrid[: work[1], : work[0]]
    disc = (xs - centre_x) ** 2 + (ys - centre_y) ** 2 <= (radius + 0.5) ** 2
    filled = cv2.fillConvexPoly(np.zeros(disc.shape, np.uint8), hull.astype(np.int32), 1).astype(bool)
    overlap = (disc & filled).sum() / (disc | filled).sum()
    return (centre_x, centre_y, radius) if overlap >= 0.9 else None


def _resampled(hull: np.ndarray) -> np.ndarray:
    """Points at about one pixel's distance along the closed outline."""
    closed = np.vstack([hull, hull[:1]]).astype(float)
    pieces = []
    for start, end in itertools.pairwise(closed):
        steps = max(1, round(float(np.hypot(*(end - start)))))
        pieces.append(start + (end - start) * (np.arange(steps) / steps)[:, None])
    return np.concatenate(pieces)


@functools.lru_cache(maxsize=1024)
def _triples(num_points: int) -> np.ndarray:
    """Three different places of `num_points`, (200, 3), always the same."""
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(num_points, 3, replace=False) for _ in range(_NUM_CIRCLES)])


def _circles_through(triples: np.ndarray) -> np.ndarray:
    """Centre and radius [m, 3] of the circle through each three points [n, 3, 2]; those that lie on a line have none."""
    (ax, ay), (bx, by), (cx, cy) = (triples[:, corner].T for corner in range(3))
    determinant = 2 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by))
    a, b, c = ax**2 + ay**2, bx**2 + by**2, cx**2 + cy**2
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (a * (by - cy) + b * (cy - ay) + c * (ay - by)) / determinant
        y = (a * (cx - bx) + b * (ax - cx) + c * (bx - ax)) / determinant
        circles = np.column_stack([x, y, np.hypot(ax - x, ay - y)])
    return np.asarray(circles[np.abs(determinant) >= 1e-6])


def _least_squares_circle(points: np.ndarray) -> tuple[float, float, float]:
    """Kåsa's algebraic fit: x² + y² = 2ax + 2by + c."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    (a, b, c), *_ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
    return float(a), float(b), float(np.sqrt(c + a * a + b * b))

"""What real video has besides mucosa: the processor's look, burned-in text, bubbles and stool, blur, and the room outside the body."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.patient import Patient, area_edge, tone_curve
from curation.phantom.tissue import TILE_SIDE, TissueLayers

__all__ = ["Processor", "blur_motion", "cover_with_bubbles", "cover_with_stool", "draw_room", "draw_text", "room_view"]

Image = npt.NDArray[np.float32]
Frame = npt.NDArray[np.uint8]


class Processor:
    """Turns light into a frame as one patient's video processor does: colours, noise, gamma, optics and content area."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        left, top, right, bottom = patient.area.box
        self.left, self.top = max(left, 0), max(top, 0)
        self.right, self.bottom = min(right, patient.width), min(bottom, patient.height)
        self.side = max(self.right - self.left, self.bottom - self.top)
        rows, columns = self.bottom - self.top, self.right - self.left
        self._crop = (
            slice((self.side - rows) // 2, (self.side - rows) // 2 + rows),
            slice((self.side - columns) // 2, (self.side - columns) // 2 + columns),
        )
        edge = area_edge(patient)[:rows, :columns]
        self.inside = edge > 0
        self._background = np.full((patient.height, patient.width, 3), patient.border_color, dtype=np.uint8)
        self._inside_bytes = self.inside.astype(np.uint8)
        self._edge = np.repeat(edge[..., None], 3, axis=2)
        self._curve = tone_curve(patient)
        self._matrix = (patient.color_matrix * np.float32(255 * patient.exposure)).astype(np.float32)
        rng = np.random.default_rng([patient.seed, 5])
        grain = rng.standard_normal((self.side + 64, self.side + 64, 3)) * np.array([1.0, 0.8, 1.3]) * (255 * patient.noise)
        self._noise = cv2.GaussianBlur(grain.astype(np.float32), (3, 3), 0.6)

    def develop(self, image: Image, rng: np.random.Generator, exposure: float = 1.0) -> Frame:
        """Frame of the content area's bounding box, (rows, columns, 3) RGB, black outside the area.

        Args:
            image: (side, side, 3) light, 1 is white.
            rng: of the sensor's noise.
            exposure: factor on the light.
        """
        light: Image = np.asarray(cv2.transform(np.ascontiguousarray(image[self._crop]), self._matrix * np.float32(exposure)))
        y, x = rng.integers(0, 64, 2)
        light += self._noise[y : y + light.shape[0], x : x + light.shape[1]]
        light *= self._edge
        frame = cv2.LUT(np.clip(light, 0, 255, out=light).astype(np.uint8), self._curve)
        return np.asarray(cv2.GaussianBlur(frame, (3, 3), self.patient.softness))

    def crop_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A (side, side) mask cut to the content area, with the shape of a developed frame."""
        return np.asarray(mask[self._crop] & self.inside)

    def place(self, content: Frame) -> Frame:
        """Whole frame: the developed content on the processor's background."""
        frame = self._background.copy()
        window = frame[self.top : self.bottom, self.left : self.right]
        window[...] = cv2.copyTo(content, self._inside_bytes, np.ascontiguousarray(window))
        return frame


def draw_text(frame: Frame, patient: Patient, seconds: float, *, inside: bool) -> None:
    """Burn fake patient data into a frame: beside the content area where there is room, and over the content where `inside`."""
    scale = patient.height / 320
    clock = f"{9 + patient.patient % 8:02d}:{int(seconds) // 60 + 11:02d}:{int(seconds) % 60:02d}"
    lines = [
        f"ID {patient.seed % 1000000:06d}",
        patient.name,
        "SEX:F AGE:54" if patient.seed % 2 else "SEX:M AGE:61",
        patient.date,
        clock,
        "",
        f"SCV:{patient.seed % 30}",
        "Gr:N",
    ]
    color = (214, 214, 206)
    if patient.text_outside:
        for row, line in enumerate(lines):
            origin = (int(3 * scale), int((40 + 12 * row) * scale))
            cv2.putText(frame, line, origin, cv2.FONT_HERSHEY_PLAIN, 0.62 * scale, color, 1, cv2.LINE_AA)
    if inside:
        left, top, right, _ = patient.area.box
        for row, line in enumerate((patient.name, f"{patient.date} {clock}")):
            origin = (int(left + 0.30 * (right - left)), int(top + (22 + 13 * row) * scale))
            cv2.putText(frame, line, origin, cv2.FONT_HERSHEY_PLAIN, 0.72 * scale, color, 1, cv2.LINE_AA)


def blur_motion(frame: Frame, length: int, angle: float) -> Frame:
    """Average a frame along a line of `length` pixels in direction `angle` (radians)."""
    length = max(3, length | 1)
    kernel = np.zeros((length, length), dtype=np.float32)
    middle = length // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * middle
    cv2.line(kernel, tuple(int(v) for v in np.round(middle - reach)), tuple(int(v) for v in np.round(middle + reach)), 1.0)
    return np.asarray(cv2.filter2D(frame, -1, kernel / kernel.sum()))


def cover_with_bubbles(image: Image, rng: np.random.Generator, drift: float) -> Image:
    """Clusters of bubbles: bright rims, a highlight each, darker inside.

    Args:
        image: (side, side, 3) light.
        rng: places the bubbles; give the same one for all frames of a stretch.
        drift: how far they have moved, in pixels.
    """
    side = image.shape[0]
    rim = np.zeros((side, side), dtype=np.uint8)
    fill = np.zeros((side, side), dtype=np.uint8)
    for _ in range(int(rng.integers(3, 6))):
        center = rng.uniform(0.1, 0.9, 2) * side
        for _ in range(int(rng.integers(12, 40))):
            radius = float(np.clip(rng.lognormal(1.6, 0.55), 2, 20)) * side / 304
            x, y = center + rng.normal(0, 0.10 * side, 2) + drift * np.array([0.7, 0.4]) * radius / 6
            at = (int(x * 8), int(y * 8))
            cv2.circle(fill, at, int(radius * 8), 200, -1, cv2.LINE_AA, 3)
            cv2.circle(rim, at, int(radius * 8), 130, 1, cv2.LINE_AA, 3)
            cv2.circle(
                rim, (int((x - 0.4 * radius) * 8), int((y - 0.4 * radius) * 8)), int(max(radius * 0.2, 0.8) * 8), 255, -1, cv2.LINE_AA, 3
            )
    dim = 1 - fill.astype(np.float32) * np.float32(0.18 / 255)
    lift = rim.astype(np.float32) * np.float32(0.75 / 255)
    return np.asarray(image * dim[..., None] + lift[..., None] * np.clip(image.max(axis=2, keepdims=True) * 1.6, 0.15, 1), dtype=np.float32)


def cover_with_stool(image: Image, layers: TissueLayers, drift: float) -> Image:
    """Turbid yellow-brown residue that lies on the wall and drifts with it."""
    side = image.shape[0]
    shift = int(drift * 2) % (TILE_SIDE - side)
    window = (slice(shift, shift + side), slice(40, 40 + side))
    opacity = np.clip((layers.folds[window] * 0.6 + layers.blotches[window] * 0.8 + 0.05 * layers.grain[window] - 0.55) * 4, 0, 0.94)
    shade = cv2.GaussianBlur(image.max(axis=2), (0, 0), 4) * (1 + 0.07 * layers.grain[window])
    stool = shade[..., None] * np.array([0.72, 0.52, 0.16], dtype=np.float32)
    return np.asarray(image + (stool - image) * opacity[..., None], dtype=np.float32)


def draw_room(rng: np.random.Generator, side: int) -> Image:
    """A canvas twice the view's side: an examination room of walls, drapes, monitors and gloves, out of focus."""
    extent = 2 * side
    sweep = np.linspace(0.45, 1.0, extent, dtype=np.float32)
    wall = np.array([0.52, 0.60, 0.66], dtype=np.float32) * rng.uniform(0.7, 1.1)
    canvas = np.ascontiguousarray(sweep[:, None, None] * wall + np.zeros((extent, extent, 3), dtype=np.float32))
    palette = np.array(
        [
            [0.20, 0.42, 0.72],
            [0.15, 0.50, 0.40],
            [0.80, 0.84, 0.86],
            [0.30, 0.33, 0.37],
            [0.10, 0.12, 0.15],
            [0.45, 0.62, 0.78],
            [0.22, 0.55, 0.60],
        ]
    )
    for _ in range(int(rng.integers(16, 26))):
        center = rng.uniform(0, extent, 2)
        box = cv2.boxPoints(((float(center[0]), float(center[1])), tuple(rng.uniform(0.06, 0.42, 2) * extent), float(rng.normal(0, 8))))
        color = palette[int(rng.integers(len(palette)))] * rng.uniform(0.7, 1.15)
        cv2.fillConvexPoly(canvas, box.astype(np.int32), tuple(float(c) for c in color))
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.8, 2.0))), dtype=np.float32)


def room_view(room: Image, side: int, seconds: float, phase: float) -> Image:
    """What the camera sees of a room while it is carried about."""
    angle = 12 * np.sin(0.9 * seconds + phase)
    x, y = side * (1 + 0.35 * np.sin(1.3 * seconds + phase)), side * (1 + 0.3 * np.cos(1.7 * seconds + 2 * phase))
    turn = np.asarray(cv2.getRotationMatrix2D((float(x), float(y)), float(angle), 1.0), dtype=np.float64)
    turn[:, 2] += side / 2 - np.array([x, y])
    return np.asarray(cv2.warpAffine(room, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), dtype=np.float32)

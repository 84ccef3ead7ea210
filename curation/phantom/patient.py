"""What differs between phantom patients but says nothing about anatomy: processor colours, optics, content area, fake identity.

These nuisances are drawn wider than any station's own colour, as in real archives, where the maker of the processor explains more of a
frame's colour than the organ does. A representation that reads colour therefore cannot tell stations apart across patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["ContentArea", "Patient", "content_area_mask", "draw_patient"]

AreaKind = Literal["circle", "octagon", "rectangle"]

_FAMILY_NAMES = ("MUSTER", "DOE", "ROSSI", "TANAKA", "NOVAK", "SILVA", "JANSEN", "KOVACS", "LARSEN", "MEYER")
_GIVEN_NAMES = ("ANNA", "JOHN", "MARIA", "KENJI", "PETR", "LUISA", "PIET", "EVA", "OLE", "MAX")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentArea:
    """The lit part of a frame. All lengths are in pixels of the whole frame."""

    kind: AreaKind
    center_x: float
    center_y: float
    half_width: float
    half_height: float
    corner_cut: float
    """length that an octagon or rectangle loses along each edge at a corner; 0 for a circle"""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Bounding box as (left, top, right, bottom); right and bottom are exclusive; may reach beyond the frame."""
        return (
            round(self.center_x - self.half_width),
            round(self.center_y - self.half_height),
            round(self.center_x + self.half_width),
            round(self.center_y + self.half_height),
        )


def content_area_mask(area: ContentArea, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """True where a pixel belongs to the content area.

    Args:
        area: as held by `VideoTruth.area`.
        size: width and height of the frame in pixels.

    Returns:
        Array of shape (height, width).
    """
    width, height = size
    x = np.abs(np.arange(width, dtype=np.float32) + 0.5 - area.center_x)[None, :]
    y = np.abs(np.arange(height, dtype=np.float32) + 0.5 - area.center_y)[:, None]
    if area.kind == "circle":
        inside = (x / area.half_width) ** 2 + (y / area.half_height) ** 2 <= 1.0
    else:
        inside = (x <= area.half_width) & (y <= area.half_height) & (x + y <= area.half_width + area.half_height - area.corner_cut)
    return np.asarray(inside, dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One phantom patient: everything that stays the same through the examination."""

    patient: int
    seed: int
    width: int
    height: int
    area: ContentArea
    border_color: tuple[int, int, int]
    """RGB of what surrounds the content area"""
    color_matrix: npt.NDArray[np.float32]
    """(3, 3), applied to linear RGB columns: white balance, hue and saturation of the processor"""
    gamma: float
    exposure: float
    noise: float
    """standard deviation of sensor noise, in units of full scale"""
    focal: float
    """zoom: larger sees less of the lumen"""
    softness: float
    """standard deviation of the optics' blur in pixels"""
    vignette: float
    name: str
    date: str
    text_outside: bool
    text_inside: bool


def _drawn(rng: np.random.Generator, low: float, high: float, spread: float) -> float:
    """A number from an even distribution over low to high, drawn towards the middle of both by a spread below 1."""
    value = rng.uniform(low, high)
    return float(value + (1 - spread) * ((low + high) / 2 - value))


def _color_matrix(rng: np.random.Generator, spread: float) -> npt.NDArray[np.float32]:
    """Saturation, hue rotation about the grey axis and white balance as one matrix."""
    luma = np.array([0.30, 0.59, 0.11])
    saturation = _drawn(rng, 0.45, 1.25, spread)
    saturate = saturation * np.eye(3) + (1 - saturation) * np.tile(luma, (3, 1))
    angle = np.deg2rad(_drawn(rng, -9.0, 13.0, spread))
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotate = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    balance = np.diag(np.exp(spread * rng.normal(0.0, [0.07, 0.08, 0.20])))
    return np.asarray(balance @ saturate @ rotate, dtype=np.float32)


def _content_area(rng: np.random.Generator, width: int, height: int) -> ContentArea:
    kind: AreaKind = ("octagon", "circle", "rectangle")[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    half_height = height * rng.uniform(0.44, 0.495)
    half_width = half_height * (1.0 if kind == "circle" else rng.uniform(0.88, 1.0))
    slack = width - 2 * half_width
    # a wide frame keeps its text panel on the left, as most processors do
    center_x = half_width + slack * (0.5 if width == height else rng.uniform(0.85, 0.97))
    center_y = height / 2 + (height / 2 - half_height) * rng.uniform(-0.6, 0.6)
    corner_cut = {"octagon": rng.uniform(0.42, 0.62), "rectangle": rng.uniform(0.06, 0.16), "circle": 0.0}[kind] * half_height
    return ContentArea(
        kind=kind, center_x=center_x, center_y=center_y, half_width=half_width, half_height=half_height, corner_cut=float(corner_cut)
    )


def draw_patient(patient: int, *, seed: int, size: int, spread: float = 1.0) -> Patient:
    """Draw the looks of one patient.

    Args:
        patient: number of the patient; patients of one seed are independent of each other.
        seed: of the whole phantom.
        size: height of the frame in pixels; the width is the same or five quarters of it.
        spread: how far colours and optics of patients lie apart, as `PhantomConfig.spread`.
    """
    rng = np.random.default_rng([seed, patient, 1])
    width = size if rng.random() < 0.5 else (size * 5 // 4) // 2 * 2
    bordered = rng.random() < 0.2
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(2011, 2025))
    return Patient(
        patient=patient,
        seed=int(rng.integers(2**31)),
        width=width,
        height=size,
        area=_content_area(rng, width, size),
        border_color=(int(rng.integers(6, 20)), int(rng.integers(10, 28)), int(rng.integers(24, 60))) if bordered else (0, 0, 0),
        color_matrix=_color_matrix(rng, spread),
        gamma=float(np.exp(_drawn(rng, -0.28, 0.34, spread))),
        exposure=float(np.exp(_drawn(rng, -0.45, 0.35, spread))),
        noise=_drawn(rng, 0.004, 0.022, spread),
        focal=_drawn(rng, 0.82, 1.12, spread),
        softness=_drawn(rng, 0.3, 0.9, spread),
        vignette=_drawn(rng, 0.0, 0.45, spread),
        name=f"{_FAMILY_NAMES[int(rng.integers(10))]} {_GIVEN_NAMES[int(rng.integers(10))]}",
        date=f"{day:02d}/{month:02d}/{year}",
        text_outside=width > size or rng.random() < 0.3,
        text_inside=rng.random() < 0.25,
    )


def tone_curve(patient: Patient) -> npt.NDArray[np.uint8]:
    """The processor's gamma as a look-up table of shape (256,)."""
    return np.asarray(np.round(255 * (np.arange(256) / 255) ** patient.gamma), dtype=np.uint8)


def area_edge(patient: Patient) -> npt.NDArray[np.float32]:
    """Brightness over the content area's bounding box: 0 outside, 1 inside, less towards the rim where the optics vignette."""
    left, top, right, bottom = patient.area.box
    mask = content_area_mask(patient.area, (max(right, patient.width), max(bottom, patient.height)))
    mask = mask[max(top, 0) : bottom, max(left, 0) : right]
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
    radius = ((x / mask.shape[1] - 0.5) ** 2 + (y / mask.shape[0] - 0.5) ** 2) * 4
    soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0) * mask
    return np.asarray(soft * (1 - patient.vignette * np.clip(radius - 0.3, 0, 1)), dtype=np.float32)

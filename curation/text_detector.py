"""Where in a picture there is text: PP-OCR's detection network, whose weights the package rapidocr carries, run by ONNX Runtime.

Only detection: nothing is read, so no name ever exists outside the pixels. Its output is a map of text probability, from which boxes are
made as in Liao et al. 2020, "Real-time Scene Text Detection with Differentiable Binarization", section 3.5; at lower thresholds than for
reading, since a black spot on tissue costs little and a name that is left costs much.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

__all__ = ["Box", "TextCheckFailed", "find_text", "load_text_detector", "text_detector_path"]

WORK_SIDE = 512
"""longest side at which the network looks: the best of 352, 448, 512 and 640 on Kvasir-SEG (tests/benchmarks/bench_burned_text.py)"""
_STRIDE = 32
_TALLEST = 288  # rows run at once
_OVERLAP = 32  # rows; a line of text is not as high
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255
_PIXEL_PROBABILITY = 0.2
_BOX_PROBABILITY = 0.35
_UNCLIP_RATIO = 1.6  # the network marks the core of a line
_GROWTH = 0.3  # of a line's height, on each side: letters that are cut off by the border of the picture are seen as less than they are
_LARGEST_SHARE = 0.1  # of the picture; what is larger is a fold or a polyp


class Box(NamedTuple):
    """A rectangle in pixels: the left column, the top row, width and height."""

    x: int
    y: int
    width: int
    height: int


class TextCheckFailed(RuntimeError):
    """The network could not be loaded or run: nothing is known of the picture."""


def text_detector_path() -> Path:
    """The network's file in the installed package.

    Raises:
        TextCheckFailed: it is not there.
    """
    found = importlib.util.find_spec("rapidocr")  # found, not imported: the reading part and its logging stay out
    folder = Path(found.origin).parent / "models" if found and found.origin else None
    models = sorted(folder.glob("*det*.onnx")) if folder else []
    if not models:
        raise TextCheckFailed("the text detector is missing; install rapidocr, or switch the check off with --text off")
    return models[0]


@functools.cache
def load_text_detector() -> Any:
    """An ONNX Runtime session of one thread, loaded once a process.

    Raises:
        TextCheckFailed: the network or ONNX Runtime is missing or broken.
    """
    path = text_detector_path()
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # its own arena: given back to the heap after each look, blocks of this size fragment it by 100 MB in an hour of video, and cost a
        # fifth of the look; patterns would be kept for every new size of picture
        options.enable_cpu_mem_arena, options.enable_mem_pattern = True, False
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as failure:  # ONNX Runtime's own exceptions have no common base
        raise TextCheckFailed(f"the text detector {path} cannot be loaded: {failure}") from failure


def find_text(rgb: np.ndarray, detector: Any, within: Box | None = None) -> tuple[Box, ...]:
    """Boxes around the lines of text.

    Args:
        rgb: [height, width, 3] uint8.
        detector: from `load_text_detector`.
        within: where to look; everywhere unless given. It costs in proportion to its area.

    Raises:
        TextCheckFailed: the network fails on it.
    """
    height, width = rgb.shape[:2]
    scale = WORK_SIDE / max(height, width)
    work = [max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in (width, height)]
    bgr = cv2.cvtColor(cv2.resize(rgb, work, interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2BGR)
    probability = np.zeros(bgr.shape[:2], np.float32)
    columns, lines = _part(within, (width, height), bgr.shape[:2])
    for rows in _strips(lines):
        batch = ((bgr[rows, columns].astype(np.float32) - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        try:
            (output,) = detector.run(None, {detector.get_inputs()[0].name: np.ascontiguousarray(batch)})
        except Exception as failure:
            raise TextCheckFailed(f"the text detector failed on a picture of {width}x{height}: {failure}") from failure
        probability[rows, columns] = np.maximum(probability[rows, columns], output[0, 0])
    if not np.isfinite(probability).all():
        raise TextCheckFailed(f"the text detector gave no numbers for a picture of {width}x{height}")
    return _boxes(probability, (width, height))


def _part(within: Box | None, size: tuple[int, int], work: tuple[int, ...]) -> tuple[slice, slice]:
    """The columns and rows of the network's input that hold a part of a picture of `size`, outwards to whole strides."""
    if within is None:
        return slice(0, work[1]), slice(0, work[0])
    scale_x, scale_y = work[1] / size[0], work[0] / size[1]
    left, top = (int(edge) // _STRIDE * _STRIDE for edge in (within.x * scale_x, within.y * scale_y))
    right, bottom = (within.x + within.width) * scale_x, (within.y + within.height) * scale_y
    right, bottom = (int(-(-edge // _STRIDE) * _STRIDE) for edge in (right, bottom))
    return slice(left, min(right, work[1])), slice(top, min(bottom, work[0]))


def _strips(lines: slice) -> list[slice]:
    """Rows to run the network on at a time: two overlapping halves of a tall part need little more than half its memory."""
    num_rows = lines.stop - lines.start
    if num_rows <= _TALLEST:
        return [lines]
    half = -(-(num_rows // 2 + _OVERLAP // 2) // _STRIDE) * _STRIDE
    return [slice(lines.start, lines.start + half), slice(lines.stop - half, lines.stop)]


def _boxes(probability: np.ndarray, size: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes in pixels of a picture of `size` from the network's map."""
    rows, columns = probability.shape
    width, height = size
    found: list[Box] = []
    outlines, _ = cv2.findContours((probability > _PIXEL_PROBABILITY).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        inside = np.zeros((h, w), np.uint8)
        cv2.drawContours(inside, [outline - np.array([x, y])], -1, 1, cv2.FILLED)
        if min(w, h) < 2 or probability[y : y + h, x : x + w][inside > 0].mean() < _BOX_PROBABILITY:
            continue
        grow = w * h * _UNCLIP_RATIO / (2 * (w + h)) + _GROWTH * min(w, h)
        if (w + 2 * grow) * (h + 2 * grow) > _LARGEST_SHARE * rows * columns:
            continue
        left = max(0.0, (x - grow) * width / columns)
        top = max(0.0, (y - grow) * height / rows)
        right = min(float(width), (x + w + grow) * width / columns)
        bottom = min(float(height), (y + h + grow) * height / rows)
        found.append(Box(int(left), int(top), int(np.ceil(right)) - int(left), int(np.ceil(bottom)) - int(top)))
    return tuple(sorted(found, key=lambda box: (box.y, box.x)))

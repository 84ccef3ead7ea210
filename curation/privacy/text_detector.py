"""Where in a picture there is text: PP-OCR's detection network, whose weights the package rapidocr carries, run by ONNX Runtime.

Only detection: what is found is judged by curation/privacy/text_evidence.py. Its output is a map of text probability, from which boxes are
made as in Liao et al. 2020, "Real-time Scene Text Detection with Differentiable Binarization", section 3.5; at lower thresholds than for
reading, since a black spot on tissue costs little and a name that is left costs much. Two things tell tissue from text all the same: the
network is sure of some pixel of nearly every line, and a region higher than a line is only taken for text where sure cores are in it.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from curation.privacy.text_boxes import Box

__all__ = ["TextCheckFailed", "find_text", "load_text_detector", "open_network", "text_detector_path"]

WORK_SIDE = 512
"""longest side at which the network looks: the best of 352, 448, 512 and 640 on Kvasir-SEG (tests/benchmarks/bench_burned_text.py)"""
_STRIDE = 32
_TALLEST = 288  # rows run at once
_OVERLAP = 32  # rows; a line of text is not as high
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255
_UNCLIP_RATIO = 1.6  # the network marks the core of a line
_GROWTH = 0.3  # of a line's height, on each side: letters that are cut off by the border of the picture are seen as less than they are
_LARGEST_SHARE = 0.1  # of the picture
_TALLEST_LINE = 0.16  # of the picture's height; what is higher is a fold, a polyp, or several lines that the network sees as one
_SURE_OF_TALL = 0.6  # mean probability from which what is higher is text throughout
_CORE_GROWTH = 1.4  # times that of a line, of which a core is less


class _Demand(NamedTuple):
    """What the network must say of a region for it to be text (tests/benchmarks/bench_burned_text.py)."""

    pixel: float
    """probability of every pixel"""
    mean: float
    highest: float


_LINE = _Demand(0.2, 0.4, 0.75)
_CORE = _Demand(0.5, 0.7, 0.95)


class TextCheckFailed(RuntimeError):
    """The network could not be loaded or run: nothing is known of the picture."""


def text_detector_path() -> Path:
    """The detection network's file in the installed package.

    Raises:
        TextCheckFailed: it is not there.
    """
    return _network_path("det", "detector")


def _network_path(kind: str, name: str) -> Path:
    found = importlib.util.find_spec("rapidocr")  # found, not imported: its code and logging stay out
    folder = Path(found.origin).parent / "models" if found and found.origin else None
    models = sorted(folder.glob(f"*{kind}*.onnx")) if folder else []
    if not models:
        raise TextCheckFailed(f"the text {name} is missing; install rapidocr, or switch the check off with --text off")
    return models[0]


@functools.cache
def load_text_detector() -> Any:
    """An ONNX Runtime session of one thread, loaded once a process.

    Raises:
        TextCheckFailed: the network or ONNX Runtime is missing or broken.
    """
    return open_network("det", "detector")


def open_network(kind: str, name: str) -> Any:
    """An ONNX Runtime session of one thread for one of the package's networks.

    Args:
        kind: part of its file's name: `det` finds lines, `rec` reads them.
        name: what errors call it.

    Raises:
        TextCheckFailed: the network or ONNX Runtime is missing or broken.
    """
    path = _network_path(kind, name)
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
        raise TextCheckFailed(f"the text {name} {path} cannot be loaded: {failure}") from failure


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
    right, bottom = within.right * scale_x, within.bottom * scale_y
    right, bottom = (int(-(-edge // _STRIDE) * _STRIDE) for edge in (right, bottom))
    return slice(left, min(right, work[1])), slice(top, min(bottom, work[0]))


def _strips(lines: slice) -> list[slice]:
    """Rows to run the network on at a time: two overlapping halves of a tall part need little more than half its memory."""
    num_rows = lines.stop - lines.start
    if num_rows <= _TALLEST:
        return [lines]
    half = -(-(num_rows // 2 + _OVERLAP // 2) // _STRIDE) * _STRIDE
    return [slice(lines.start, lines.start + half), slice(lines.stop - half, lines.stop)]


class _Region(NamedTuple):
    """Connected pixels of the network's map."""

    box: Box
    mean: float
    probability: np.ndarray
    """[box.height, box.width], 0 outside the region"""


def _boxes(probability: np.ndarray, size: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes in pixels of a picture of `size` from the network's map."""
    rows, columns = probability.shape
    found: list[tuple[Box, float]] = []
    for region in _regions(probability, _LINE):
        grow = _growth(region.box)
        is_tall = region.box.height + 2 * grow > _TALLEST_LINE * rows
        if _is_large(region.box, grow, probability.shape) or (is_tall and region.mean < _SURE_OF_TALL):
            for core in _regions(region.probability, _CORE):
                box, more = Box(region.box.x + core.box.x, region.box.y + core.box.y, *core.box[2:]), _CORE_GROWTH * _growth(core.box)
                if core.mean >= _CORE.mean and not _is_large(box, more, probability.shape):
                    found.append((box, more))
        elif region.mean >= _LINE.mean:
            found.append((region.box, grow))
    return tuple(sorted((_grown(box, grow, (columns, rows), size) for box, grow in found), key=lambda box: (box.y, box.x)))


def _is_large(box: Box, grow: float, shape: tuple[int, ...]) -> bool:
    return (box.width + 2 * grow) * (box.height + 2 * grow) > _LARGEST_SHARE * shape[0] * shape[1]


def _regions(probability: np.ndarray, demand: _Demand) -> Iterator[_Region]:
    """What is connected at the demanded probability, where the network is as sure as demanded of one pixel at least."""
    outlines, _ = cv2.findContours((probability > demand.pixel).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines:
        x, y, width, height = cv2.boundingRect(outline)
        inside = np.zeros((height, width), np.uint8)
        cv2.drawContours(inside, [outline - np.array([x, y])], -1, 1, cv2.FILLED)
        part = probability[y : y + height, x : x + width] * inside
        if min(width, height) >= 2 and part.max() >= demand.highest:
            yield _Region(Box(x, y, width, height), float(part.sum() / inside.sum()), part)


def _growth(box: Box) -> float:
    """Pixels by which a line is larger on each side than what the network marks of it."""
    return box.area * _UNCLIP_RATIO / (2 * (box.width + box.height)) + _GROWTH * min(box.width, box.height)


def _grown(box: Box, grow: float, work: tuple[int, int], size: tuple[int, int]) -> Box:
    """In pixels of a picture of `size`, from one of the size `work`."""
    scale_x, scale_y = size[0] / work[0], size[1] / work[1]
    left, top = max(0, int((box.x - grow) * scale_x)), max(0, int((box.y - grow) * scale_y))
    right = min(size[0], int(np.ceil((box.right + grow) * scale_x)))
    bottom = min(size[1], int(np.ceil((box.bottom + grow) * scale_y)))
    return Box(left, top, right - left, bottom - top)

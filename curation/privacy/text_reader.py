"""How many characters a box holds: PP-OCR's recognition network, whose weights lie beside the detector's in the package rapidocr.

The network gives, for each of many columns of a line, the probability of every character and of none. Only the probabilities of the most
likely characters are added up (CTC's greedy decoding): how many characters are expected to be right. The text itself is never made.
Spaces and doubtful characters do not count: rows of small highlights are read as many doubtful characters. Quotation marks, colons and
other marks count at most as much as letters and digits: a group of small highlights is read as marks.
Vessels, folds and highlights are read as one doubtful character at most; a line of text as several sure ones.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np

from curation.privacy.text_boxes import Box
from curation.privacy.text_detector import TextCheckFailed, open_network

__all__ = ["characters_read", "load_text_reader"]

_HEIGHT = 48  # rows of the network's input
_FEWEST_COLUMNS = 320  # of its input: shorter lines are filled up with grey, as in training
_MOST_COLUMNS = 2048
_BLANK = 0  # the class that stands for no character
_MARGIN = 0.12  # of a line's height: the detector's boxes are larger than a line by about as much on each side
_LEAST = 0.35  # probability; at 0.4 a hardly visible line drawn into tissue is lost, at 0.3 one box without text counts as two
_SURE = 3.0  # characters, from which a second reading can change nothing


@functools.cache
def load_text_reader() -> Any:
    """An ONNX Runtime session of one thread, loaded once a process.

    Raises:
        TextCheckFailed: the network or ONNX Runtime is missing or broken.
    """
    return open_network("rec", "reader")


def characters_read(rgb: np.ndarray, box: Box, reader: Any) -> float:
    """The expected number of characters that are read rightly in the box, as one line; the better of two readings.

    Args:
        rgb: [height, width, 3] uint8, the whole picture.
        box: in pixels of the picture.
        reader: from `load_text_reader`.

    Raises:
        TextCheckFailed: the network fails on it.
    """
    most = 0.0
    for margin in (0, round(_MARGIN * min(box.width, box.height))):
        line = rgb[box.y + margin : box.bottom - margin, box.x + margin : box.right - margin]
        if most < _SURE and min(line.shape[:2]) > 2:
            most = max(most, _characters(line, reader))
    return most


def _characters(line: np.ndarray, reader: Any) -> float:
    columns = min(_MOST_COLUMNS, max(1, round(line.shape[1] * _HEIGHT / line.shape[0])))
    picture = np.zeros((1, 3, _HEIGHT, max(_FEWEST_COLUMNS, columns)), np.float32)
    bgr = cv2.cvtColor(cv2.resize(line, (columns, _HEIGHT), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2BGR)
    picture[0, :, :, :columns] = (bgr.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
    try:
        is_letter, is_mark = _letters_and_marks(reader)
        ((probability,),) = reader.run(None, {reader.get_inputs()[0].name: picture})
    except Exception as failure:
        raise TextCheckFailed(f"the text reader failed on a line of {line.shape[1]}x{line.shape[0]}: {failure}") from failure
    if not np.isfinite(probability).all():
        raise TextCheckFailed(f"the text reader gave no numbers for a line of {line.shape[1]}x{line.shape[0]}")
    if probability.shape[1] != len(is_letter):
        raise TextCheckFailed(f"the text reader tells {probability.shape[1]} classes apart, and names {len(is_letter)}")
    likeliest, surest = probability.argmax(axis=1), probability.max(axis=1)
    is_new = (np.diff(likeliest, prepend=_BLANK) != 0) & (likeliest != _BLANK) & (surest >= _LEAST)
    letters, marks = (float(surest[is_new & is_counted[likeliest]].sum()) for is_counted in (is_letter, is_mark))
    return letters + min(marks, letters)


@functools.cache
def _letters_and_marks(reader: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of the network's classes, [classes] bool: letters and digits of any script; other characters but spaces."""
    characters = reader.get_modelmeta().custom_metadata_map["character"].split("\n")
    is_letter = np.array([False, *(character.isalnum() for character in characters), False])  # first none, last the space
    is_mark = np.array([False, *(not character.isalnum() and not character.isspace() for character in characters), False])
    return is_letter, is_mark

"""DICOM video: the encapsulated stream is taken out as it is, and of the header only what identifies nobody.

The identifiers of patient and study leave this module as keyed hashes or not at all. Of pydicom's messages nothing is passed on, because
they quote values.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import AllTransferSyntaxes, MPEGTransferSyntaxes

from curation.sources import pseudonym, source_file
from curation.video.container import UnreadableVideo
from warehouse.records import VideoInfo

__all__ = ["DicomVideo", "extract_stream"]

_VIDEO_SYNTAXES = frozenset(MPEGTransferSyntaxes)
_TAGS = ["PatientID", "StudyInstanceUID", "ManufacturerModelName"]
_PIXEL_DATA, _ITEM, _END_OF_ITEMS = (0x7FE0, 0x0010), (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONGEST_DEVICE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomVideo:
    """What was taken from a DICOM file beside its stream."""

    info: VideoInfo
    problem: str | None
    """why the stream may be incomplete"""


def extract_stream(path: Path, target: Path, key: bytes | None) -> DicomVideo:
    """Write the video stream that a DICOM file encapsulates to `target`, piece by piece.

    Args:
        path: the DICOM file.
        target: a file to make.
        key: of the pseudonyms; without one, patient and study are left out.

    Raises:
        UnreadableVideo: it is no DICOM file, or none of a video.
        LeftForLater: the file system withheld the file, or a part of it.
        OSError: `target` cannot be written.
    """
    with source_file(str(path)) as file:
        header = _read_header(file)
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax not in _VIDEO_SYNTAXES:
            # one that is not in the standard may carry the root of an institution
            name = syntax.name if syntax in AllTransferSyntaxes else "none" if syntax is None else "a private one"
            raise UnreadableVideo("not_a_video", f"a DICOM file whose transfer syntax is no video's ({name})")
        problem = _copy_fragments(file, target)
    return DicomVideo(info=_info(header, key), problem=problem)


def _read_header(file: IO[bytes]) -> FileDataset:
    """The few elements that are wanted; the file is left where its pixel data begin."""
    try:
        with _silent():
            return pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
    except Exception as error:  # a damaged header makes pydicom raise almost anything
        raise UnreadableVideo("undecodable", f"a DICOM file whose header is damaged ({type(error).__name__})") from None


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _copy_fragments(file: IO[bytes], target: Path) -> str | None:
    """Join the fragments, which follow the offset table, into one stream (DICOM PS3.5, A.4); returns why there may be too few."""
    element = file.read(12)
    if len(element) < 12 or struct.unpack("<HH", element[:4]) != _PIXEL_DATA:
        raise UnreadableVideo("undecodable", "a DICOM file without pixel data, as when its transfer was cut off")
    if struct.unpack("<I", element[8:])[0] != _UNDEFINED_LENGTH:
        raise UnreadableVideo("undecodable", "a DICOM file of a video transfer syntax whose pixel data are not encapsulated")
    num_items = 0
    with target.open("wb") as stream:
        while len(item := file.read(8)) == 8:
            group, number, length = struct.unpack("<HHI", item)
            if (group, number) == _END_OF_ITEMS:
                return None
            if (group, number) != _ITEM:
                return "the DICOM file's fragments are damaged"
            num_items += 1
            if num_items == 1:
                file.seek(length, 1)
            elif _copy(file, stream, length) < length:
                break
    return "the DICOM file ends before its pixel data do"


def _copy(source: IO[bytes], target: IO[bytes], length: int) -> int:
    """Copy up to `length` bytes in pieces; returns how many there were."""
    before, left = target.tell(), length
    while left and (piece := source.read(min(left, 1 << 20))):
        target.write(piece)
        left -= len(piece)
    return target.tell() - before


def _info(header: FileDataset, key: bytes | None) -> VideoInfo:
    with _silent():
        patient, study, device = (str(header.get(name) or "").strip() for name in _TAGS)
    return VideoInfo(
        patient_id=pseudonym(patient, key) if key is not None and patient else None,
        study_id=pseudonym(study, key) if key is not None and study else None,
        device=device[:_LONGEST_DEVICE] or None,
        site=None,
        procedure=None,
        date=None,
    )

"""DICOM files with video, as pydicom writes them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, VideoEndoscopicImageStorage

from tests.helpers.films import HEIGHT, WIDTH, octagon, tissue

KEY = b"0123456789abcdef"
STUDY = "1.2.826.0.1.3680043.8.498.42"


def stream(codec: str, container: str, *, seconds: int = 4) -> bytes:
    """A second a picture, one picture a frame."""
    buffer = io.BytesIO()
    inside = octagon()[..., None]
    with av.open(buffer, "w", format=container) as output:
        made = output.add_stream(codec, rate=25)
        assert isinstance(made, av.VideoStream)
        made.width, made.height, made.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if codec == "libx265":
            made.options = {"x265-params": "log-level=none"}
        for number in range(25 * seconds):
            rgb = (tissue(number // 25).clip(0, 255) * inside).astype("uint8")
            output.mux(made.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(made.encode(None))
    return buffer.getvalue()


def write_dicom(path: Path, syntax: UID, fragments: list[bytes] | bytes) -> Path:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = VideoEndoscopicImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = UID(STUDY + ".3")
    header.SOPClassUID = VideoEndoscopicImageStorage
    header.SOPInstanceUID = UID(STUDY + ".3")
    header.PatientName, header.PatientID, header.PatientBirthDate = "DOE^JANE", "4711-A", "19610304"
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY, STUDY + ".2"
    header.StudyDate, header.InstitutionName = "19610304", "General Hospital"
    header.ManufacturerModelName = "CV-190"
    header.Modality, header.NumberOfFrames, header.FrameTime = "ES", "100", "40"
    header.Rows, header.Columns, header.BitsAllocated, header.BitsStored, header.HighBit = HEIGHT, WIDTH, 8, 8, 7
    header.SamplesPerPixel, header.PixelRepresentation, header.PhotometricInterpretation = 3, 0, "YBR_PARTIAL_420"
    if isinstance(fragments, bytes):
        header.PixelData = fragments
    else:
        content = b"".join(fragments)
        no_offsets = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        header.PixelData = encapsulate([content], fragments_per_frame=len(fragments), has_bot=False) if fragments else no_offsets
        header["PixelData"].is_undefined_length = True
        header["PixelData"].VR = "OB"
    header.save_as(path, enforce_file_format=True)
    return path

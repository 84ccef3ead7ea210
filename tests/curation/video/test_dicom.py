import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    HEVCMP51,
    JPEG2000,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41F,
    UID,
    ExplicitVRLittleEndian,
)

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.sources.discover import hash_video
from curation.sources.manifest import pseudonym
from tests.helpers.dicom_files import KEY, STUDY, stream, write_dicom
from tests.helpers.films import HEIGHT, WIDTH
from warehouse.records import IngestedVideo

SECRETS = (b"DOE", b"JANE", b"19610304", b"4711-A", b"General Hospital", b"1.2.826.0.1.3680043.8.498")


def ingest(path: Path, lake: Path, key: bytes | None = KEY) -> IngestedVideo:
    return ingest_video(hash_video(str(path)), lake_root=str(lake), config=IngestConfig(max_hash_distance=0), patient_key=key)


def everything_in(lake: Path, result: IngestedVideo) -> bytes:
    files = [path for path in lake.rglob("*") if path.is_file()]
    return repr(result).encode() + b"".join(str(path).encode() + path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("syntax", "codec", "container", "found"),
    [
        (MPEG4HP41, "libx264", "mp4", ("h264", "mov")),
        (MPEG4HP41F, "libx264", "mpegts", ("h264", "mpegts")),
        (MPEG4HP41, "libx264", "h264", ("h264", "h264")),
        (MPEG2MPML, "mpeg2video", "mpeg2video", ("mpeg2video", "mpegvideo")),
        (MPEG2MPML, "mpeg2video", "vob", ("mpeg2video", "mpeg")),
        (HEVCMP51, "libx265", "mpegts", ("hevc", "mpegts")),
    ],
)
def test_an_encapsulated_stream_is_decoded_and_nothing_of_the_header_remains(
    syntax: UID, codec: str, container: str, found: tuple[str, str], tmp_path: Path
) -> None:
    path = write_dicom(tmp_path / "a", syntax, [stream(codec, container)])
    assert all(secret in path.read_bytes() for secret in SECRETS)
    result = ingest(path, tmp_path / "lake")
    assert result.video is not None, result.reject
    assert (result.video.status, result.video.warning) == ("ok", None)
    assert (result.video.codec, result.video.container.split(",")[0]) == (found[0], f"dicom/{found[1]}")
    assert (result.video.num_frames_sampled, result.video.num_frames_kept) == (4, 4)
    assert not [secret for secret in SECRETS if secret in everything_in(tmp_path / "lake", result)]
    assert result.info is not None
    assert (result.info.device, result.info.date, result.info.site) == ("CV-190", None, None)
    assert (result.info.patient_id, result.info.study_id) == (pseudonym("4711-A", KEY), pseudonym(STUDY, KEY))
    assert list((tmp_path / "lake/staging/scratch").glob("*/*")) == []


def test_fragments_are_one_stream_and_the_same_as_the_bare_file(tmp_path: Path) -> None:
    content = stream("libx264", "mpegts")
    (tmp_path / "bare.ts").write_bytes(content)
    step = len(content) // 5
    pieces = [content[start : start + step + step % 2] for start in range(0, len(content), step + step % 2)]
    fragmented = ingest(write_dicom(tmp_path / "a.dcm", MPEG4HP41F, pieces), tmp_path / "lake")
    bare = ingest(tmp_path / "bare.ts", tmp_path / "lake")
    assert fragmented.video is not None
    assert bare.video is not None
    assert [v.num_frames_decoded + v.num_frames_skipped for v in (fragmented.video, bare.video)] == [100, 100]
    assert fragmented.video.num_frames_decoded == bare.video.num_frames_decoded
    assert bare.info is None


def test_without_a_key_patient_and_study_are_left_out(tmp_path: Path) -> None:
    result = ingest(write_dicom(tmp_path / "a.dcm", MPEG4HP41, [stream("libx264", "mp4", seconds=1)]), tmp_path / "lake", key=None)
    assert result.info is not None
    assert (result.info.patient_id, result.info.study_id, result.info.device) == (None, None, "CV-190")


def cut_in_the_stream(path: Path) -> None:
    write_dicom(path, MPEG4HP41F, [stream("libx264", "mpegts")])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def test_a_stream_that_was_cut_off_keeps_its_good_frames(tmp_path: Path) -> None:
    cut_in_the_stream(tmp_path / "a.dcm")
    video = ingest(tmp_path / "a.dcm", tmp_path / "lake").video
    assert video is not None
    assert video.status == "partial"
    assert "the DICOM file ends before its pixel data do" in str(video.warning)
    assert 1 <= video.num_frames_kept < 4


def cut_in_the_header(path: Path) -> None:
    write_dicom(path, MPEG4HP41, [stream("libx264", "mp4", seconds=1)])
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"DOE") + 5])


def native_pixels_in_a_video_syntax(path: Path) -> None:
    write_dicom(path, ExplicitVRLittleEndian, bytes(HEIGHT * WIDTH * 3))
    content = path.read_bytes()
    old, new = ExplicitVRLittleEndian.encode().ljust(20, b"\0"), MPEG4HP41.encode()
    syntax = content.index(b"\x02\x00\x10\x00UI") + 6
    path.write_bytes(content[:syntax] + struct.pack("<H", 24) + new.ljust(24, b"\0") + content[syntax + 2 + len(old) :])


@pytest.mark.parametrize(
    ("write", "reason", "detail"),
    [
        (lambda path: write_dicom(path, JPEG2000, [b"\xff\x4f" * 50]), "not_a_video", r"\(JPEG 2000 Image Compression\)"),
        (lambda path: write_dicom(path, ExplicitVRLittleEndian, bytes(HEIGHT * WIDTH * 3)), "not_a_video", "Explicit VR Little Endian"),
        (lambda path: write_dicom(path, MPEG4HP41, [b"no stream at all" * 64]), "not_a_video", "no video container"),
        (lambda path: write_dicom(path, MPEG4HP41, []), "empty", "no content"),
        (cut_in_the_header, "undecodable", "without pixel data"),
        (native_pixels_in_a_video_syntax, "undecodable", "not encapsulated"),
        (lambda path: path.write_bytes(b"\0" * 128 + b"DICM" + bytes(range(256)) * 9), "", ""),
        (lambda path: path.write_bytes(b"-----BEGIN PKCS7-----" * 40), "", ""),
        (lambda path: path.touch(), "empty", "no content"),
    ],
)
def test_what_holds_no_video_is_a_reject_that_quotes_nothing(
    write: Callable[[Path], object], reason: str, detail: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.dcm")
    reject = ingest(tmp_path / "a.dcm", tmp_path / "lake").reject
    assert reject is not None
    assert reject.reason in ([reason] if reason else ["not_a_video", "undecodable"])
    assert re.search(detail, reject.detail), reject.detail
    assert not [secret for secret in SECRETS if secret in repr(reject).encode()]


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_end_in_a_record_without_a_secret(seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(seed)
    path = write_dicom(tmp_path / "a.dcm", MPEG4HP41, [stream("libx264", "mp4", seconds=1)])
    content = bytearray(path.read_bytes())
    for position in rng.integers(132, 1200, 20):
        content[position] = rng.integers(0, 256)
    path.write_bytes(bytes(content))
    result = ingest(path, tmp_path / "lake")
    assert (result.video is None) != (result.reject is None)
    written = capfd.readouterr()
    assert not [name for name in ("DOE", "4711", "1961") if name in written.err + written.out + str(result.reject)]

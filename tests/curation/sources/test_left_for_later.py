"""Files that the file system withholds: whatever the moment, they are left for the next run and never judged."""

import errno
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.sources.discover import find_videos
from curation.sources.identity import identify
from curation.sources.left_for_later import irregular, withheld
from curation.sources.read_errors import SourceFile
from tests.helpers.clips import FORMATS, moving_picture, write_clip
from tests.helpers.stills import still
from warehouse.records import Left, VideoRef


def clip(path: Path, num_frames: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, [moving_picture(number) for number in range(num_frames)], FORMATS["h264-mp4"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOENT, "missing"),
        (errno.ENOTDIR, "missing"),
        (errno.EACCES, "no_access"),
        (errno.EPERM, "no_access"),
        (errno.EIO, "io_error"),
        (errno.ESTALE, "unreachable"),
        (errno.ENOTCONN, "unreachable"),
        (errno.ETIMEDOUT, "unreachable"),
        (errno.EHOSTDOWN, "unreachable"),
    ],
)
def test_what_the_system_says_becomes_a_reason_without_a_path(code: int, reason: str) -> None:
    left = withheld(OSError(code, os.strerror(code), "/archive/Jane Doe.mp4"), "/archive/Jane Doe.mp4")
    assert left == Left(reason=reason, detail=os.strerror(code))


def test_a_machine_without_room_stops_the_run() -> None:
    with pytest.raises(OSError, match="No space left"):
        withheld(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def bound_socket(path: Path) -> None:
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (os.mkfifo, "a FIFO (named pipe)"),
        (bound_socket, "a socket"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: path.symlink_to(path), "a symbolic link that leads back to itself"),
    ],
)
def test_what_is_not_a_file_is_named_and_rejected(
    make: Callable[[Path], object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.mp4")
    (video,) = find_videos([str(tmp_path / "in")])
    identified = identify(video)
    assert isinstance(identified, VideoRef)
    reject = ingest_video(identified, lake_root=str(tmp_path / "lake"), config=IngestConfig()).reject
    assert reject is not None
    assert (reject.reason, reject.detail) == ("not_a_file", f"{name}, not a file; remove it or leave it out")


def test_a_fifo_among_images_does_not_spoil_their_folder(tmp_path: Path) -> None:
    for number in range(2):
        still(number).save(tmp_path / f"{number}.png")
    os.mkfifo(tmp_path / "2.png")
    found = {Path(video.path).name: len(video.images) for video in find_videos([str(tmp_path)])}
    assert found == {tmp_path.name: 2, "2.png": 0}


def test_a_dangling_link_is_left_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "unmounted" / "a.mp4")
    (video,) = find_videos([str(tmp_path)])
    assert identify(video) == Left(reason="missing", detail="a symbolic link whose target is not there")


def test_a_file_with_a_fault_of_the_disk_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("/proc/self/mem")  # a regular file whose first bytes the kernel refuses: EIO
    (video,) = find_videos([str(tmp_path / "a.mp4")])
    assert irregular(video.path) is None
    assert identify(video) == Left(reason="io_error", detail="Input/output error")


def test_a_file_that_vanishes_after_it_was_found_is_missing_and_not_young(tmp_path: Path) -> None:
    (video,) = find_videos([str(clip(tmp_path / "a.mp4"))])
    (tmp_path / "a.mp4").unlink()
    assert identify(video) == Left(reason="missing", detail="No such file or directory")


def test_an_image_that_is_withheld_leaves_its_folder_and_is_named(tmp_path: Path) -> None:
    still(0).save(tmp_path / "0.png")
    (tmp_path / "1.png").symlink_to("/proc/self/mem")
    (video,) = find_videos([str(tmp_path)])
    assert identify(video) == Left(reason="io_error", detail="1.png: Input/output error")


@pytest.mark.parametrize("make", [clip, lambda path: still(0).save(path.with_suffix(".png"))])
def test_a_file_that_vanishes_after_it_was_identified_is_left(make: Callable[[Path], object], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder / "a.mp4")
    (video,) = find_videos([str(folder)])
    identified = identify(video)
    assert isinstance(identified, VideoRef)
    folder.rename(tmp_path / "away")
    result = ingest_video(identified, lake_root=str(tmp_path / "lake"), config=IngestConfig())
    assert (result.reject, result.left) == (None, Left(reason="missing", detail="No such file or directory"))


class FaultyDisk(io.BytesIO):
    """Content of which the disk gives all bytes before a place."""

    def __init__(self, content: bytes, good: int) -> None:
        super().__init__(content)
        self._good = good

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() + (size or 0) > self._good:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_fault_half_way_is_remembered_and_does_not_reach_the_next_video(tmp_path: Path) -> None:
    content = clip(tmp_path / "a.mkv", 200).read_bytes()
    source = SourceFile(FaultyDisk(content, len(content) // 2), "a.mkv")
    with av.open(source, "r") as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    assert num_frames < 200
    assert source.fault is not None
    assert source.fault.errno == errno.EIO
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 200


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    clip(archive / "ward" / "a.mp4")
    clip(tmp_path / "elsewhere" / "deep" / "b.mp4")
    (archive / "0 again").symlink_to(archive / "ward")
    (archive / "loop").symlink_to(archive)
    (archive / "other disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(archive)
    found = [str(Path(video.path).relative_to(archive)) for video in find_videos([str(archive)])]
    assert found == ["other disk/deep/b.mp4", "ward/a.mp4"]
    linked = [Path(video.path).name for video in find_videos([str(archive / "0 again"), str(archive)])]
    assert sorted(linked) == ["a.mp4", "b.mp4"]

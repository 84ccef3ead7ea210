import hashlib
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from curation.packs.pack import iter_pack, read_frame, write_pack

FRAMES = [("v-k-00000000000", b"\xff\xd8first"), ("v-k-00001000000", b"\xff\xd8" + bytes(2000)), ("v-k-00002000000", b"")]


def test_frames_come_back_by_offset_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "packs" / "a.tar"
    written = write_pack(path, FRAMES)
    assert [(entry.frame_id, read_frame(path, entry.byte_offset, entry.byte_size)) for entry in written.entries] == FRAMES
    assert list(iter_pack(path)) == FRAMES
    assert written.num_bytes == path.stat().st_size
    assert written.pack_id == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.sha256 for entry in written.entries] == [hashlib.sha256(jpeg).hexdigest() for _, jpeg in FRAMES]


def test_the_bytes_depend_on_nothing_but_the_frames(tmp_path: Path) -> None:
    first, second = tmp_path / "a.tar", tmp_path / "b.tar"
    assert write_pack(first, FRAMES) == write_pack(second, FRAMES)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (0, 0, 0, "", "", 0o644)
    assert hashlib.sha256(first.read_bytes()).hexdigest() == "bfff12fe5429322cd8c99d35cf04d490e456adb91db2b74cab162210ebc74368"


def test_a_pack_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    entry = write_pack(path, FRAMES).entries[1]
    path.write_bytes(path.read_bytes()[:1600])
    with pytest.raises(ValueError, match="cut short"):
        read_frame(path, entry.byte_offset, entry.byte_size)


@pytest.mark.parametrize("frame_id", ["a.b", "a/b", "", "x" * 91])
def test_an_id_that_a_shard_could_not_hold_is_refused_and_nothing_is_left(tmp_path: Path, frame_id: str) -> None:
    with pytest.raises(ValueError, match="change the id"):
        write_pack(tmp_path / "a.tar", [(frame_id, b"x")])
    assert list(tmp_path.iterdir()) == []


@given(contents=st.lists(st.binary(max_size=1500), max_size=8))
def test_any_contents_survive(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("pack") / "a.tar"
    frames = [(f"f{number}", content) for number, content in enumerate(contents)]
    write_pack(path, frames)
    assert list(iter_pack(path)) == frames
    assert [list(iter_pack(path, start=start)) for start in range(len(frames) + 1)] == [frames[start:] for start in range(len(frames) + 1)]


def test_a_pack_that_ends_before_the_frame_to_start_from_says_so(tmp_path: Path) -> None:
    write_pack(tmp_path / "a.tar", FRAMES)
    with pytest.raises(ValueError, match=r"a\.tar has 3 frames before its end, expected more than 4; ingest its video again"):
        list(iter_pack(tmp_path / "a.tar", start=4))

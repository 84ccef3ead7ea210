from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretrain.shard_cache import DamagedShardError, ShardCache, Whole


def whole(content: bytes) -> Whole:
    return Whole(hashlib.sha256(content).hexdigest(), len(content))


def read(cache: ShardCache, content: bytes, calls: list[bytes] | None = None) -> bytes:
    def fetch() -> Iterator[bytes]:
        if calls is not None:
            calls.append(content)
        yield content[:3]
        yield content[3:]

    descriptor = cache.open(whole(content), fetch)
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def kept(cache: ShardCache) -> set[str]:
    return {path.name for path in cache.folder.glob("*.tar")}


def test_a_shard_is_fetched_once_and_the_one_used_longest_ago_leaves(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", limit_bytes=25)
    calls: list[bytes] = []
    shards = [bytes([65 + number]) * 10 for number in range(4)]
    for number in (0, 1, 0, 2, 0, 1):
        assert read(cache, shards[number], calls) == shards[number]
        assert sum(path.stat().st_size for path in cache.folder.glob("*.tar")) <= 25
    assert calls == [shards[0], shards[1], shards[2], shards[1]]
    assert kept(cache) == {f"{whole(shards[number]).sha256}.tar" for number in (0, 1)}


def test_an_open_shard_is_read_to_its_end_though_it_has_left(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit_bytes=10)
    descriptor = cache.open(whole(b"a" * 10), lambda: [b"a" * 10])
    read(cache, b"b" * 10)
    assert kept(cache) == {f"{whole(b'b' * 10).sha256}.tar"}
    assert os.pread(descriptor, 10, 0) == b"a" * 10
    os.close(descriptor)


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"0123", r"is cut short: it has 4 bytes, and dataset\.json says 10"),
        (b"0123456789ab", r"is longer than the 10 bytes"),
        (b"0123456780", r"is not what was written: its SHA-256 is "),
    ],
)
def test_what_is_not_the_shard_is_asked_for_twice_and_not_kept(content: bytes, trouble: str, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit_bytes=100)
    expected, calls = whole(b"0123456789"), []

    def fetch() -> list[bytes]:
        calls.append(1)
        return [content]

    for _ in range(3):
        with pytest.raises(DamagedShardError, match=trouble):
            cache.open(expected, fetch)
    assert len(calls) == 2
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob("*.part"))
    os.utime(next(tmp_path.glob("*.damaged")), (0, 0))  # said before this run began
    assert read(cache, b"0123456789") == b"0123456789"
    assert cache.damage(expected) is None


def test_a_transfer_that_went_wrong_once_is_made_again(tmp_path: Path) -> None:
    answers = iter([[b"01234"], [b"0123456789"]])
    descriptor = ShardCache(tmp_path, limit_bytes=10).open(whole(b"0123456789"), lambda: next(answers))
    assert os.pread(descriptor, 20, 0) == b"0123456789"
    os.close(descriptor)


def test_two_that_want_a_shard_fetch_it_once(tmp_path: Path) -> None:
    calls: list[bytes] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        calls.append(b"slow")
        begun.set()
        assert go_on.wait(20)
        yield b"0123456789"

    cache = ShardCache(tmp_path, limit_bytes=15)
    first = threading.Thread(target=cache.fetch, args=(whole(b"0123456789"), slow))
    first.start()
    assert begun.wait(20)
    cache.fetch(whole(b"0123456789"), slow, wait=False)  # on its way: nothing to do
    cache.fetch(whole(b"x" * 10), slow, wait=False)  # no room beside what is on its way
    assert calls == [b"slow"]
    second = threading.Thread(target=read, args=(cache, b"0123456789", calls))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert calls == [b"slow"]


def _die_amid(folder: Path) -> None:
    def fetch() -> Iterator[bytes]:
        yield b"01234"
        os._exit(9)

    ShardCache(folder, limit_bytes=15).fetch(whole(b"0123456789"), fetch)


def test_what_a_killed_process_left_takes_no_room(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_amid, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list(tmp_path.glob("*.part"))) == 1
    cache = ShardCache(tmp_path, limit_bytes=15)
    assert read(cache, b"x" * 10) == b"x" * 10
    assert read(cache, b"0123456789") == b"0123456789"
    assert not list(tmp_path.glob("*.part"))

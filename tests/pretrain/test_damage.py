from __future__ import annotations

import contextlib
import hashlib
import logging
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.damage import DamagedDatasetError, UnreadableLog, stand_ins
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from tests.helpers.shards import picture, write_dataset

ORDER = np.arange(100, 124)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def tried(slot: int, *, step: int = 1, count: int = 2) -> list[int]:
    candidates = stand_ins(ORDER, step, slot, num_samples=130, batch_size=8, seed=3)
    return [next(candidates) for _ in range(count)]


def test_stand_ins_of_a_batch_differ_and_are_not_in_it() -> None:
    of_first_try = [tried(slot, count=1)[0] for slot in range(8)]
    assert len(set(of_first_try)) == 8
    assert not set(of_first_try) & set(ORDER[8:16].tolist())
    assert {sample for slot in range(8) for sample in tried(slot)} == {*ORDER[:8].tolist(), *ORDER[16:].tolist()}


def test_stand_ins_follow_from_the_seed_and_the_step() -> None:
    assert tried(5, count=20) == tried(5, count=20)
    assert len({tuple(tried(5, step=1 + 3 * epoch)) for epoch in range(8)}) == 2  # both orders of the two other batches


def test_the_last_resort_is_any_sample_once() -> None:
    assert sorted(stand_ins(np.arange(8), 0, 2, num_samples=9, batch_size=8, seed=3)) == list(range(9))


def test_each_shard_is_named_once_with_its_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_dataset(tmp_path / "set", [picture(number) for number in range(6)], 2)
    gone, short, _ = sorted(folder.glob("*.tar"))
    gone.unlink()
    short.write_bytes(short.read_bytes()[:700])
    log = UnreadableLog(ShardReader(folder), limit=0.01)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            log.add(4, [1, 0, 1])
            log.add(4, [2])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert "tiny set é-000000.tar cannot be opened: No such file or directory" in said[0]
    assert "tiny set é-000001.tar is cut short: it has 700 bytes" in said[1]
    assert "tiny set é-000002.tar holds bytes that are no image" in said[2]


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", [picture(0)], 1)
    reader = ShardReader(folder)
    with pytest.raises(OSError, match="Too many open files"), no_more_files():
        reader.read(0)
    assert reader.read(0)[:2] == b"\xff\xd8"


def test_more_than_the_limit_stops_and_names_the_worst_shards(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "my lake" / "shards" / "set", [picture(number) for number in range(6)], 2)
    log = UnreadableLog(ShardReader(folder), limit=0.1, window=100)
    for _ in range(9):
        log.add(10, [1])
    log.add(10, [2])
    with pytest.raises(DamagedDatasetError) as caught:
        log.add(10, [2, 1])
    assert "11 of the last 100 images" in str(caught.value)
    assert "tiny set é-000001.tar (9), tiny set é-000002.tar (2)" in str(caught.value)
    assert f"`endoforge verify --lake '{tmp_path / 'my lake'}' tiny`" in str(caught.value)


def test_what_left_the_window_counts_no_more(tmp_path: Path) -> None:
    log = UnreadableLog(ShardReader(write_dataset(tmp_path / "set", [picture(0)], 1)), limit=0.02, window=100)
    for _ in range(50):
        log.add(50, [0])


def test_bytes_that_differ_from_a_known_hash_are_unreadable(tmp_path: Path) -> None:
    jpegs = [picture(number) for number in range(3)]
    folder = write_dataset(tmp_path / "set", jpegs, 3)
    table = pq.read_table(folder / "samples.parquet")
    pq.write_table(table.append_column("sha256", [[hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs]]), folder / "samples.parquet")
    tar = next(folder.glob("*.tar"))
    place = table["byte_offset"][1].as_py() + table["byte_size"][1].as_py() // 2
    damaged = bytearray(tar.read_bytes())
    damaged[place] ^= 1  # still decodes, to another picture
    tar.write_bytes(damaged)
    reader = ShardReader(folder)
    assert reader.read(0) == jpegs[0]
    with pytest.raises(UnreadableError, match="not what was written"):
        reader.read(1)

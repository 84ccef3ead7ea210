import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from curation.sources.fetch_cache import remove_dead_scratch, scratch_folder


def hold(parent: Path, num_bytes: int, limit_bytes: int, ready: Connection) -> None:
    with scratch_folder(parent, num_bytes=num_bytes, limit_bytes=limit_bytes) as folder:
        (folder / "data").write_bytes(b"x")
        ready.send(str(folder))
        time.sleep(60)


def test_a_folder_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_folder(tmp_path / "scratch") as folder:
        (folder / "data").touch()
        raise RuntimeError
    assert not folder.exists()


def test_what_cannot_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10 bytes do not fit into 9"), scratch_folder(tmp_path, num_bytes=10, limit_bytes=9):
        pass


def test_room_is_waited_for_and_that_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    holder = spawn.Process(target=hold, args=(tmp_path, 6, 10, theirs))
    waiter = spawn.Process(target=hold, args=(tmp_path, 5, 10, theirs))
    try:
        holder.start()
        held = Path(ours.recv())
        with scratch_folder(tmp_path, num_bytes=4, limit_bytes=10):  # the rest of the room
            waiter.start()
            assert not ours.poll(1.5)
        assert not ours.poll(0.5)
        assert held.exists()
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        Path(ours.recv())
        assert not held.exists()
    finally:
        for process in (holder, waiter):
            process.kill()
            process.join()
    remove_dead_scratch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]

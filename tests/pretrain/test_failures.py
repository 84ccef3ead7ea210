"""What a person reads of an error, and which errors are worth another try."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pretrain.config import PretrainConfig
from pretrain.failures import NonFiniteError, TrainingError, WorkerFailure, as_error, explain, worker_failure
from pretrain.launch import pretrain
from pretrain.state_files import StateError


def told(error: Exception) -> tuple[str, bool]:
    failure = worker_failure(error, traceback_at="/runs/r/failure.txt")
    return failure.sentence, failure.can_heal


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79 GiB."), "the GPU's memory is full"),
        (MemoryError(), "this machine's memory is full"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), "this machine's memory is full"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/r/metrics.jsonl"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/runs/r/config.json"), "access was refused"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (RuntimeError("unable to write to file </torch_12_3>: No space left on device (28)"), "the shared memory that loader"),
    ],
)
def test_full_and_forbidden_places_have_a_remedy_and_no_retry(error: Exception, sentence: str) -> None:
    said, can_heal = told(error)
    assert said.startswith(sentence)
    assert ";" in said  # the remedy follows
    assert not can_heal


@pytest.mark.parametrize(
    "error",
    [
        torch.distributed.DistNetworkError("The client socket has timed out after 600s"),
        RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5123"),
        RuntimeError("NCCL Error 6: remote process exited or there was a network error"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        OSError(errno.ESTALE, "Stale file handle"),
    ],
)
def test_what_was_lost_on_the_way_is_tried_again(error: Exception) -> None:
    assert told(error)[1]


def test_an_error_that_says_all_itself_stays_as_it_is() -> None:
    for error in (ValueError("give more"), NonFiniteError("lower base_lr"), StateError("go back"), TrainingError("stop it")):
        assert told(error) == (str(error), False)
        assert explain(error) is None


def test_a_folder_that_another_process_holds_is_said_as_it_is() -> None:
    error = TrainingError("another process trains in r; wait for it or stop it")
    error.__cause__ = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    assert told(error) == (str(error), False)


def test_an_unknown_error_says_its_kind_and_its_traceback_s_place() -> None:
    sentence, can_heal = told(KeyError("weight"))
    assert sentence.startswith("training stopped with KeyError: 'weight'; it would stop there again, so it was not tried again")
    assert "/runs/r/failure.txt" in sentence
    assert not can_heal


def test_the_cause_under_an_error_counts() -> None:
    error = RuntimeError("writing the training state of step 3 failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "state.safetensors")
    assert told(error)[0].startswith("the disk is full ([Errno 28] No space left on device: 'state.safetensors'); free some space")


def test_an_error_of_a_loader_is_told_without_its_traceback() -> None:
    text = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\nValueError: too dark"
    assert told(ValueError(text)) == ("too dark", False)


def test_a_worker_s_failure_reaches_another_process_whole() -> None:
    failure = pickle.loads(pickle.dumps(WorkerFailure("ValueError", "give more", False)))  # noqa: S301
    assert (failure.kind, failure.sentence, failure.can_heal) == ("ValueError", "give more", False)
    assert isinstance(as_error(failure.kind, failure.sentence), ValueError)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_the_run_goes_on_with_room(micro: PretrainConfig, dataset_dir: Path, small_disk: Path) -> None:
    config = dataclasses.replace(micro, checkpoint=dataclasses.replace(micro.checkpoint, keep_every=1))
    start: Callable[[], object] = lambda: pretrain(  # noqa: E731
        config, dataset_dir=dataset_dir, run_dir=small_disk / "run", run_id="r", validate=None, backend="local"
    )
    with pytest.raises(TrainingError, match=r"^the disk is full \(.*\); free some space, then type the same command again"):
        start()
    kept = sorted(path.name for path in (small_disk / "run" / "checkpoints").glob("step_*[0-9]"))
    assert kept == ["step_0000003", "step_0000006"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    start()
    assert (small_disk / "run" / "result.json").exists()


def test_missing_shards_end_a_run_with_what_to_do(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset_dir, tmp_path / "set")
    for shard in (tmp_path / "set").glob("*.tar"):
        shard.unlink()
    micro = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_loader_workers=1))
    with pytest.raises(ValueError, match=r"set has no readable image among \d+ tried; `cd .*sha256sum -c SHA256SUMS`") as caught:
        pretrain(micro, dataset_dir=tmp_path / "set", run_dir=tmp_path / "run", run_id="r", validate=None, backend="local")
    assert told(caught.value) == (str(caught.value), False)

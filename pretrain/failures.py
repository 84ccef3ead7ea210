"""Why training stopped, in one sentence with the remedy, and whether trying again can help."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pretrain.state_files import StateError

__all__ = ["Failure", "NonFiniteError", "TrainingError", "WorkerFailure", "as_error", "explain", "one_line", "worker_failure"]

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_GROUP = ("gloo", "nccl", "connection closed by peer", "connection reset")
"""In the text of a RuntimeError: another worker was lost."""
_OWN = ("cuda error", "is killed by signal", "exited unexpectedly")
"""In the text of a RuntimeError: this worker's GPU, or a process of its loader, was lost."""
_HEALING_OS_ERRORS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EAGAIN, errno.EINTR)
"""Of disks that machines share; another try may find them well."""


class NonFiniteError(RuntimeError):
    """The loss or a gradient was not finite for too many steps in a row."""


class TrainingError(RuntimeError):
    """Training stopped; the message is one sentence with cause and remedy."""


class WorkerFailure(RuntimeError):
    """What a worker raises under Ray: plain values, which every process can read."""

    def __init__(self, kind: str, sentence: str, can_heal: bool) -> None:
        super().__init__(kind, sentence, can_heal)
        self.kind, self.sentence, self.can_heal = kind, sentence, can_heal

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A cause that is known."""

    sentence: str
    can_heal: bool = False
    """whether the same work may succeed when it is tried again"""


def explain(error: BaseException) -> Failure | None:
    """The cause and its remedy; None if the error is not known here, or says all of this itself."""
    if isinstance(error, NonFiniteError | StateError | TrainingError):
        return None
    for link in _chain(error):
        if failure := _of_system(link) or _of_memory(link):
            return failure
    if _is_of_group(error):
        return Failure(sentence="a worker lost its connection to another, whose process or machine may have ended", can_heal=True)
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _OWN):
        return Failure(sentence=f"a worker lost its GPU or a process of its loader ({one_line(error)[:300]})", can_heal=True)
    if "Original Traceback" in str(error):  # torch's loader has put the traceback of its process into the message
        return Failure(sentence=one_line(error))
    return None


def _is_of_group(error: BaseException) -> bool:
    """Whether it comes from talking to other workers."""
    is_told = type(error).__module__.startswith("torch") and type(error).__name__.startswith("Dist")
    said = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _GROUP)
    return is_told or said or isinstance(error, ConnectionError)


def _of_system(error: BaseException) -> Failure | None:
    number, text = _errno(error), one_line(error)
    again = "then type the same command again, what is finished is kept"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Failure(sentence=f"the disk is full ({text}); free some space, {again}")
    if number == errno.EROFS:
        return Failure(sentence=f"the disk can only be read ({text}); make it writable, {again}")
    if number in (errno.EACCES, errno.EPERM) or isinstance(error, PermissionError):
        return Failure(sentence=f"access was refused ({text}); give this user access, {again}")
    if number in (errno.EMFILE, errno.ENFILE):
        return Failure(sentence=f"too many files are open ({text}); raise the limit with `ulimit -n 65536`, {again}")
    if number == errno.EHOSTUNREACH:
        return Failure(sentence=f"a store did not answer ({text}); see to network, endpoint and credentials, {again}", can_heal=True)
    if number in _HEALING_OS_ERRORS:
        return Failure(sentence=f"a file could not be read or written ({text}); see that the disk is well, {again}", can_heal=True)
    return None


def _of_memory(error: BaseException) -> Failure | None:
    text, name = str(error), type(error).__name__
    if "shared memory" in text or "/torch_" in text:
        return Failure(
            sentence="the shared memory that loader processes hand batches over in is full; start the container with a larger "
            "shm-size, or give a lower train.num_loader_workers; the run then goes on"
        )
    if name == "OutOfMemoryError" or "CUDA out of memory" in text or "CUDA error: out of memory" in text:
        return Failure(
            sentence=f"the GPU's memory is full ({one_line(error).split('. ')[0]}); go on with a higher train.accumulate, "
            "model.activation_checkpointing or more --train-workers, or start another run with a smaller train.batch_size"
        )
    if isinstance(error, MemoryError) or _errno(error) == errno.ENOMEM or "DefaultCPUAllocator" in text:
        return Failure(
            sentence=f"this machine's memory is full ({one_line(error).split('. ')[0]}); go on with a lower "
            "train.num_loader_workers or fewer --train-workers, or start another run with a smaller train.batch_size"
        )
    return None


def worker_failure(error: Exception, *, traceback_at: str) -> WorkerFailure:
    """Any error of a worker, for the process that waits for it.

    Args:
        error: what training raised.
        traceback_at: where the traceback of an error that is not known is written.
    """
    kind = type(error).__name__
    if failure := explain(error):
        return WorkerFailure(kind, failure.sentence, failure.can_heal)
    if isinstance(error, ValueError | FileNotFoundError | NonFiniteError | StateError | TrainingError):
        return WorkerFailure(kind, one_line(error), False)
    return WorkerFailure(
        kind,
        f"training stopped with {kind}: {one_line(error)}; it would stop there again, so it was not tried again. The traceback is in "
        f"{traceback_at}; once the cause is gone, the same command continues from the last checkpoint",
        False,
    )


def as_error(kind: str, sentence: str) -> Exception:
    """The exception that the caller of `pretrain` gets for a worker's failure."""
    if kind == "NonFiniteError":
        return NonFiniteError(sentence)
    return ValueError(sentence) if kind in ("ValueError", "DamagedDatasetError", "FileNotFoundError") else TrainingError(sentence)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _errno(error: BaseException) -> int | None:
    if not isinstance(error, OSError):
        return None
    said = _ERRNO.search(one_line(error))  # an error out of a loader's process has its number in the text alone
    return error.errno or (int(said[1]) if said else None)


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    text = str(error).strip() or type(error).__name__
    if "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2] or text.splitlines()[-1]
    return " ".join(text.split())

"""Seeded damage to video files, as disks, networks, recorders and people do it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

__all__ = ["MUTATIONS", "mutated", "write_mutated"]


def _flip(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(0, len(content), int(rng.integers(1, 40))):
        content[position] ^= int(rng.integers(1, 256))
    return content


def _flip_in_header(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(0, min(len(content), 1500), int(rng.integers(1, 12))):
        content[position] = int(rng.integers(0, 256))
    return content


def _truncate(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(1, len(content)))]


def _splice(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(1, len(content)))] + other[int(rng.integers(0, len(other))) :]


def _swap_header(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    size = int(rng.integers(16, 2000))
    return bytearray(other[:size]) + content[size:]


def _zero(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(0, len(content)))
    size = min(int(rng.integers(1, 4000)), len(content) - start)
    content[start : start + size] = bytes(size)
    return content


def _garbage_tail(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content) // 2, len(content)))] + rng.bytes(int(rng.integers(1, 8000)))


def _repeat(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    start, stop = sorted(int(position) for position in rng.integers(0, len(content), 2))
    return content[:stop] + content[start:]


MUTATIONS: tuple[Callable[[bytearray, bytes, np.random.Generator], bytearray], ...] = (
    *(_flip, _flip_in_header, _truncate, _splice),
    *(_swap_header, _zero, _garbage_tail, _repeat),
)


def mutated(clips: Sequence[bytes], num: int, seed: int) -> Iterator[bytes]:
    """Each clip in turn, with each kind of damage in turn; one in four is damaged twice."""
    rng = np.random.default_rng(seed)
    for number in range(num):
        content = bytearray(clips[number % len(clips)])
        for step in range(1 + (rng.integers(4) == 0)):
            kind = MUTATIONS[(number // len(clips) + step) % len(MUTATIONS)]
            content = kind(content, clips[int(rng.integers(len(clips)))], rng) or bytearray(b"\0")
        yield bytes(content)


def write_mutated(folder: Path, clips: Sequence[Path], num: int, seed: int) -> list[Path]:
    """Write mutated files named by number, with the suffix of the clip that each was made from."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [clip.read_bytes() for clip in clips]
    paths = [folder / f"{number:05d}{clips[number % len(clips)].suffix}" for number in range(num)]
    for path, content in zip(paths, mutated(contents, num, seed), strict=True):
        path.write_bytes(content)
    return paths

"""Random numbers that belong to a thing and not to its place in a list: the same id and seed draw the same, whatever stands around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["draws_of_ids", "mix"]

Draws = npt.NDArray[np.uint64]

_ROWS = 1 << 20


def mix(values: npt.NDArray[Any]) -> Draws:
    """Scramble 64-bit integers one to one: the finaliser of SplitMix64 (Steele, Lea, Flood 2014, figure 17).

    One to one, so that different values never draw the same number.
    """
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)  # wraps around
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def draws_of_ids(ids: pa.Array | pa.ChunkedArray, *, seed: int) -> Draws:
    """A 64-bit number for each of the strings, (n,): their bytes and the seed mixed, eight bytes at a time."""
    draws = np.empty(len(ids), np.uint64)
    start = mix(np.array([seed], np.int64))[0]
    for first in range(0, len(ids), _ROWS):
        texts = np.array(ids.slice(first, _ROWS).cast(pa.binary()).to_pylist(), dtype=bytes)
        width = -(-max(1, texts.dtype.itemsize) // 8) * 8
        words = texts.astype(f"S{width}").view("<u8").reshape(len(texts), width // 8)
        mixed = np.full(len(texts), start)
        for word in words.T:  # zeros behind a shorter id are no part of it
            mixed = np.where(word == 0, mixed, mix(mixed ^ word))
        draws[first : first + len(texts)] = mixed
    return draws

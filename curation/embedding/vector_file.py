"""Vectors in a .npy file, read a piece at a time: a process holds what it has asked for and nothing of the rest.

A memory map of the whole file would do the same work, but its pages count as the memory of whoever has touched them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from warehouse.store import atomic_file

__all__ = ["VectorFile", "open_vectors", "write_vectors"]

_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class VectorFile:
    """(num_rows, dim) vectors in row order; a reference to the file, cheap to pickle."""

    path: Path
    num_rows: int
    dim: int
    dtype: np.dtype[Any]
    offset: int
    """of the first value in the file, in bytes"""

    @property
    def shape(self) -> tuple[int, int]:
        """(num_rows, dim), as of an array."""
        return self.num_rows, self.dim

    def rows(self, start: int, stop: int) -> VectorFile:
        """Rows start to stop as a reference of their own."""
        return replace(self, num_rows=stop - start, offset=self.offset + start * self.dim * self.dtype.itemsize)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows start to stop, (stop - start, dim)."""
        return self.stored(start, stop).astype(np.float32, copy=False)

    def stored(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The same in the file's own type."""
        first = self.offset + start * self.dim * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, (stop - start) * self.dim, offset=first).reshape(stop - start, self.dim)

    def pieces(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[Any]]:
        """The vectors at ascending row numbers, in the file's own type, some at a time."""
        step = max(1, _CHUNK_BYTES // (self.dim * self.dtype.itemsize))
        bounds = np.searchsorted(rows, np.arange(0, self.num_rows + step, step))
        for number, (first, last) in enumerate(itertools.pairwise(bounds)):
            if first == last:
                continue
            start = number * step
            shape = (min(step, self.num_rows - start), self.dim)
            # mapped for this piece alone: only the pages of wanted rows are read, and they are given back with the map
            mapped = np.memmap(self.path, self.dtype, "r", self.offset + start * self.dim * self.dtype.itemsize, shape)
            yield np.array(mapped[rows[first:last] - start])

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The vectors at any row numbers, in their order, (len(rows), dim)."""
        order = np.argsort(rows, kind="stable")
        taken = np.empty((len(rows), self.dim), np.float32)
        done = 0
        for piece in self.pieces(rows[order]):
            taken[order[done : done + len(piece)]] = piece
            done += len(piece)
        return taken


def open_vectors(path: Path) -> VectorFile:
    """The vectors of a .npy file.

    Raises:
        ValueError: it holds no C-ordered (n, d) array.
    """
    array = np.load(path, mmap_mode="r")
    if array.ndim != 2 or not array.flags.c_contiguous:
        raise ValueError(f"{path} holds an array of shape {array.shape}; expected (rows, dim) in C order")
    num_rows, dim = array.shape
    return VectorFile(path, num_rows, dim, array.dtype, array.offset)


def write_vectors(
    path: Path, pieces: Iterable[npt.NDArray[Any]], *, num_rows: int, dim: int, dtype: npt.DTypeLike = np.float16
) -> VectorFile:
    """Write vectors that come some at a time as one .npy of known size, atomically.

    Raises:
        ValueError: the pieces together have another number of rows.
    """
    kind = np.dtype(dtype)
    written = 0
    with atomic_file(path, durable=False) as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (num_rows, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, kind).data)
            written += len(piece)
        if written != num_rows:
            raise ValueError(f"{written} vectors were written to {path}, expected {num_rows}")
    return open_vectors(path)

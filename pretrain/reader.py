"""Random access to the JPEGs inside a dataset's tars, by the byte offsets of its `samples.parquet`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pretrain.order import read_footage

__all__ = ["ShardReader", "UnreadableError"]


class UnreadableError(Exception):
    """A sample's bytes cannot be read, or are not those that were written."""


class ShardReader:
    """The samples of a dataset's folder, each read from its tar when it is asked for."""

    def __init__(self, dataset_dir: Path, *, max_open_shards: int = 128) -> None:
        """Read the index; shards are opened when first needed.

        Args:
            dataset_dir: tars with samples.parquet and dataset.json.
            max_open_shards: far below the usual limit of 1024 open files.

        Raises:
            FileNotFoundError: the folder has no dataset.json or samples.parquet.
        """
        for name in ("dataset.json", "samples.parquet"):
            if not (dataset_dir / name).is_file():
                raise FileNotFoundError(f"{dataset_dir} has no {name}, so it is no dataset; make one with `endoforge curate`")
        self.dataset_dir, self._max_open_shards = dataset_dir, max_open_shards
        described = json.loads((dataset_dir / "dataset.json").read_bytes())
        self.dataset_id: str = described["dataset_id"]
        self.dataset_name: str = described.get("name", dataset_dir.name)
        columns = ["position", "shard", "byte_offset", "byte_size"]
        has_hashes = "sha256" in pq.read_schema(dataset_dir / "samples.parquet").names
        table = pq.read_table(dataset_dir / "samples.parquet", columns=[*columns, "sha256"] if has_hashes else columns)
        table = table.sort_by("position")
        shards = table["shard"].combine_chunks().dictionary_encode()
        self.shard_names: list[str] = shards.dictionary.to_pylist()
        self._shards = shards.indices.to_numpy()
        self._offsets = table["byte_offset"].to_numpy()
        self._sizes = table["byte_size"].to_numpy()
        self._hashes = _first_bytes(table["sha256"]) if has_hashes else None
        self.footage = read_footage(dataset_dir / "samples.parquet")
        self._open: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": OrderedDict()}  # descriptors mean nothing in another process

    def read(self, sample: int) -> bytes:
        """The JPEG of a sample, as stored.

        Raises:
            UnreadableError: its shard is missing, cut short or on a bad place of the disk, or, if samples.parquet has hashes, its bytes
                were changed.
            OSError: the system refuses the shard, or has lost its server.
        """
        size = int(self._sizes[sample])
        try:
            data = os.pread(self._descriptor(self.shard_of(sample)), size, int(self._offsets[sample]))
        except OSError as error:
            self._close(self.shard_of(sample))  # a handle that went stale would stay so
            if error.errno not in (errno.ENOENT, errno.EIO):  # says nothing of the data
                raise
            raise UnreadableError(str(error)) from error
        if len(data) < size:
            raise UnreadableError(f"{self.shard_names[self.shard_of(sample)]} ends before the sample does")
        if self._hashes is not None and hashlib.sha256(data).digest()[:8] != self._hashes[sample].tobytes():
            raise UnreadableError(f"a sample of {self.shard_names[self.shard_of(sample)]} is not what was written")
        return data

    def shard_of(self, sample: int) -> int:
        """Which of `shard_names` a sample is in."""
        return int(self._shards[sample])

    def trouble(self, shard: int) -> str:
        """What is wrong with a shard that has an unreadable sample, in a few words."""
        try:
            num_bytes = os.fstat(self._descriptor(shard)).st_size
        except OSError as error:
            return f"cannot be opened: {error.strerror}"
        own = self._shards == shard
        needed = int((self._offsets[own] + self._sizes[own]).max())
        if num_bytes < needed:
            return f"is cut short: it has {num_bytes} bytes, and its samples go up to {needed}"
        return "holds bytes that are no image, or not the one that was written"

    def _close(self, shard: int) -> None:
        if shard in self._open:
            os.close(self._open.pop(shard))

    def _descriptor(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        descriptor = os.open(self.dataset_dir / self.shard_names[shard], os.O_RDONLY)
        self._open[shard] = descriptor
        if len(self._open) > self._max_open_shards:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def _first_bytes(hashes: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The first eight bytes of SHA-256 digests in hexadecimal: 80 MB for ten million samples, not 640."""
    parts = [np.frombuffer(bytes.fromhex("".join(digest[:16] for digest in chunk.to_pylist())), np.uint64) for chunk in hashes.chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)

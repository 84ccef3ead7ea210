"""The JPEGs or MP4s inside a dataset's tars, by the byte offsets of its `samples.parquet`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pretrain.config import DataConfig
from pretrain.order import read_footage
from pretrain.shard_cache import Whole
from pretrain.shard_files import UnreadableError, open_files
from pretrain.windows import Windows, make_windows

__all__ = ["ShardReader", "UnreadableError"]


class ShardReader:
    """The samples of a dataset's folder, each read from its tar when it is asked for."""

    def __init__(self, dataset_dir: Path, data: DataConfig | None = None, *, max_open_shards: int = 128) -> None:
        """Read the index; shards are opened when first needed.

        Args:
            dataset_dir: samples.parquet and dataset.json, with the tars unless `data` names another place.
            data: where tars are and how they are read; at random in that folder where not given.
            max_open_shards: far below the usual limit of 1024 open files.

        Raises:
            FileNotFoundError: the folder has no dataset.json or samples.parquet.
            ValueError: tars cannot be read as `data` says.
        """
        for name in ("dataset.json", "samples.parquet"):
            if not (dataset_dir / name).is_file():
                raise FileNotFoundError(f"{dataset_dir} has no {name}, so it is no dataset; make one with `endoforge curate`")
        self.dataset_dir, self.data = dataset_dir, data or DataConfig()
        described = json.loads((dataset_dir / "dataset.json").read_bytes())
        self.dataset_id: str = described["dataset_id"]
        self.dataset_name: str = described.get("name", dataset_dir.name)
        self.kind: str = described.get("kind", "images")
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
        whole = {shard["name"]: Whole(shard["sha256"], shard["num_bytes"]) for shard in described.get("shards", []) if "sha256" in shard}
        self.files = open_files(dataset_dir, self.shard_names, whole, self.data, max_open=max_open_shards)

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def item(self) -> str:
        """What a sample is called in a sentence: image or clip."""
        return self.kind.removesuffix("s")

    def read(self, sample: int) -> bytes:
        """The file of a sample, as stored: a JPEG, or in a dataset of clips an MP4.

        Raises:
            UnreadableError: its shard is missing, cut short or on a bad place of the disk, or, if samples.parquet has hashes, its bytes
                were changed.
            OSError: the system refuses the shard, or has lost its server.
        """
        size = int(self._sizes[sample])
        data = self.files.read(self.shard_of(sample), int(self._offsets[sample]), size)
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
            num_bytes = self.files.num_bytes(shard)
        except UnreadableError as error:
            return str(error)
        except OSError as error:
            return f"cannot be opened: {error.strerror or error}"
        own = self._shards == shard
        needed = int((self._offsets[own] + self._sizes[own]).max())
        if num_bytes < needed:
            return f"is cut short: it has {num_bytes} bytes, and its samples go up to {needed}"
        return f"holds bytes that are no {self.item}, or not the one that was written"

    def windows(self, batch_size: int) -> Windows | None:
        """What a sequential reader's order follows from; None if samples are read at random."""
        if self.data.reader == "random":
            return None
        by_shard = np.lexsort((self._offsets, self._shards)).astype(np.uint32)
        first = np.concatenate([[0], np.bincount(self._shards, minlength=len(self.shard_names)).cumsum()])
        return make_windows(by_shard, first, batch_size=batch_size, window_images=self.data.window_images, footage=self.footage)


def _first_bytes(hashes: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The first eight bytes of SHA-256 digests in hexadecimal: 80 MB for ten million samples, not 640."""
    parts = [np.frombuffer(bytes.fromhex("".join(digest[:16] for digest in chunk.to_pylist())), np.uint64) for chunk in hashes.chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)

"""What closes a dataset's folder once its tars are written: the sample table, the shard index, the cards, SHA256SUMS and `dataset.json`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.shards.members import IMAGES, KINDS
from curation.shards.plan import SHARD_VERSION, ShardPlan, check_name_is_free
from curation.shards.write import sidecar_name
from warehouse.records import Dataset, Shard
from warehouse.store import atomic_file, canonical_json, file_sha256, flush_files, read_json, write_json

__all__ = ["SAMPLES_SCHEMA", "SUMS", "finish_dataset", "read_sums"]

SAMPLES_SCHEMA = IMAGES.samples_schema

SUMS = "SHA256SUMS"


def finish_dataset(
    plans: Sequence[ShardPlan],
    shards: Sequence[Shard],
    *,
    selection_id: str,
    lake_root: str,
    cards: Callable[[Dataset], Mapping[str, str]] = lambda dataset: {},
) -> Dataset:
    """Close a dataset whose shards are all written; `dataset.json` comes last, and what has one is left as it is.

    The dataset's id is the SHA-256 over its tars' hashes in order: no sidecar and no card has a part in it. SHA256SUMS names every other
    file, for `sha256sum -c`. Tars of an earlier plan that never got this far are removed.

    Args:
        plans: of all its shards.
        shards: the written ones, in the same order.
        selection_id: what it was made from.
        lake_root: the lake's folder.
        cards: file name and text of the documents that go with it, made once `samples.parquet` is there.

    Raises:
        ValueError: shards and plans do not match, or the name was taken by other content in the meantime.
    """
    name, plan_id, kind = plans[0].dataset, plans[0].plan_id, KINDS[plans[0].kind]
    columns = kind.samples_schema
    root = Path(lake_root)
    folder = root / "shards" / name
    if [plan.shard for plan in plans] != [shard.name for shard in shards]:
        raise ValueError(
            f"dataset {name!r} has {len(plans)} planned shards and {len(shards)} written ones, or in another order; write all of them"
        )
    check_name_is_free(root, name, plan_id)
    is_finished = (folder / "dataset.json").exists()
    dataset = Dataset(
        dataset_id=hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest(),
        name=name,
        path=f"shards/{name}",
        selection_id=read_json(folder / "dataset.json")["selection_id"] if is_finished else selection_id,
        num_images=sum(shard.num_images for shard in shards),
        shards=tuple(shards),
    )
    if is_finished and all((folder / file).exists() for file in ("samples.parquet", "index.json", SUMS)):
        return dataset
    _remove_stale(folder, name, {shard.name for shard in shards})
    flush_files([folder / sidecar_name(shard.name) for shard in shards])
    with atomic_file(folder / "samples.parquet") as file, pq.ParquetWriter(file, columns, compression="zstd") as writer:
        for shard in shards:
            rows = pq.read_table(folder / sidecar_name(shard.name), columns=[c for c in columns.names if c != "shard"])
            rows = rows.append_column("shard", pa.repeat(shard.name, rows.num_rows))
            writer.write_table(rows.select(columns.names).cast(columns))
    write_json(folder / "index.json", _shard_index(name, shards))
    texts = cards(dataset)
    for file_name, text in texts.items():
        with atomic_file(folder / file_name) as file:
            file.write(text.encode())
    of_kind = {} if kind is IMAGES else {"kind": kind.name}  # what was written before there were others has no such key
    described = canonical_json(
        {**asdict(dataset), "plan_id": plan_id, "num_shards": len(shards), "version": SHARD_VERSION, **of_kind}
    ).encode()
    sums = {shard.name: shard.sha256 for shard in shards} | {"dataset.json": hashlib.sha256(described).hexdigest()}
    others = ("samples.parquet", "index.json", *(sidecar_name(shard.name) for shard in shards), *texts)
    sums |= {file_name: file_sha256(folder / file_name) for file_name in others}
    with atomic_file(folder / SUMS) as file:
        file.write("".join(f"{digest}  {file_name}\n" for file_name, digest in sorted(sums.items())).encode())
    with atomic_file(folder / "dataset.json") as file:
        file.write(described)
    return dataset


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as SHA256SUMS says; empty where there is none."""
    if not (folder / SUMS).exists():
        return {}
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    return {file_name: digest for digest, _, file_name in (line.partition("  ") for line in lines)}


def _shard_index(name: str, shards: Sequence[Shard]) -> dict[str, Any]:
    """The index of wids, webdataset's random-access reader: the package `wids` 0.1.11 and webdataset up to 0.2.111, which ships it too."""
    return {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": name,
        "shardlist": [{"url": shard.name, "nsamples": shard.num_images, "filesize": shard.num_bytes} for shard in shards],
    }


def _remove_stale(folder: Path, name: str, current: set[str]) -> None:
    for file in folder.glob(f"{name}-*"):
        shard = re.fullmatch(rf"({re.escape(name)}-\d{{6}})\.(tar|parquet)", file.name)
        if shard and f"{shard[1]}.tar" not in current:
            file.unlink()

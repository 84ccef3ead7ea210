"""Which frame goes into which tar of a dataset, and where in it: the plan that workers write shards by.

Members carry where a frame comes from as ids and pixels, never a path.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curation.shards.dataset_name import check_dataset_name
from curation.shards.members import IMAGES, MEMBER_SCHEMA, MemberKind
from warehouse.store import content_id, is_whole_parquet, read_json, write_parquet

__all__ = ["MEMBER_SCHEMA", "SHARD_VERSION", "Reencode", "Remainder", "ShardPlan", "check_name_is_free", "plan_shards"]

SHARD_VERSION = 1

Remainder = Literal["spread", "top", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reencode:
    """Make large images smaller, instead of copying their bytes."""

    max_side: int
    """pixels of the longer side; an image that is no larger is copied as it is"""
    quality: int
    """of the JPEGs made, 1-100"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One tar to be written; its members are in a staged Parquet file, so that a plan stays small."""

    dataset: str
    plan_id: str
    """SHA-256 over the members of all shards of the dataset, in order"""
    shard: str
    """file name of the tar"""
    members_path: str
    num_images: int
    first_position: int
    """of its first image in the dataset"""
    reencode: Reencode | None = None
    kind: str = "images"
    """what it holds, a name of `curation.shards.members.KINDS`"""


def plan_shards(
    members: pa.Table,
    *,
    name: str,
    images_per_shard: int,
    min_shards: int,
    seed: int,
    lake_root: str,
    remainder: Remainder = "spread",
    reencode: Reencode | None = None,
    kind: MemberKind = IMAGES,
) -> tuple[ShardPlan, ...]:
    """Deal frames into shards of equal size, in an order shuffled over all of them, and stage each shard's rows.

    The same frames and seed give the same plans whatever order the frames come in. Twice the table is in memory: about 6 GB for ten
    million frames.

    Args:
        members: the frames, with the columns of `MEMBER_SCHEMA`; or those of another kind, with its columns.
        name: the dataset's name, a part of every file name.
        images_per_shard: most images in a tar.
        min_shards: fewest tars (as many as there are images, where that is fewer), so that every reader gets one.
        seed: of the shuffle.
        lake_root: the lake's folder; rows are staged in staging/shards/<plan>/.
        remainder: where the tars do not come out even, some hold one image more than others (spread), those that are one short get a
            frame of another tar once more (top), or those that have one more leave it out (drop).
        reencode: how images become smaller; their bytes are copied where not given.
        kind: images of frames, or clips.

    Raises:
        ValueError: there are no frames, one comes twice or cannot be a file name, the name is not one, or is taken by other content.
    """
    check_dataset_name(name)
    table = members.select(kind.schema.names).cast(kind.schema).combine_chunks().sort_by(kind.id_column)
    if table.num_rows == 0:
        raise ValueError(f"dataset {name!r} would hold no {kind.item}; choose at least one")
    _check_ids(table[kind.id_column], kind.item)
    root = Path(lake_root)
    num_shards = max(min(min_shards, table.num_rows), -(-table.num_rows // images_per_shard))
    order = np.random.default_rng(seed).permutation(table.num_rows)
    parts = [table.take(pa.array(rows)) for rows in _deal(order, num_shards, remainder)]
    anew = {"max_side": reencode.max_side, "quality": reencode.quality} if reencode else {}
    digests = [_rows_sha256(part.select(list(kind.content)), anew) for part in parts]
    plan_id = content_id({"version": SHARD_VERSION, "name": name, "shards": digests})
    check_name_is_free(root, name, plan_id)
    plans = []
    position = 0
    for index, part in enumerate(parts):
        shard = f"{name}-{index:06d}.tar"
        path = f"staging/shards/{plan_id[:16]}/{shard}.parquet"
        if not is_whole_parquet(root / path):
            write_parquet(root / path, part)
        plans.append(
            ShardPlan(
                dataset=name,
                plan_id=plan_id,
                shard=shard,
                members_path=path,
                num_images=part.num_rows,
                first_position=position,
                reencode=reencode,
                kind=kind.name,
            )
        )
        position += part.num_rows
    return tuple(plans)


def _deal(order: NDArray[np.int64], num_shards: int, remainder: Remainder) -> list[NDArray[np.int64]]:
    hands: list[NDArray[np.int64]] = np.array_split(order, num_shards)
    least, most = len(hands[-1]), len(hands[0])
    if least == most or remainder == "spread":
        return hands
    if remainder == "drop":
        return [hand[:least] for hand in hands]
    # the first of the tar before: each repeated once, none beside itself; the first tar is never short
    return [hand if len(hand) == most else np.append(hand, hands[index - 1][0]) for index, hand in enumerate(hands)]


def _check_ids(ids: pa.ChunkedArray, item: str) -> None:
    num_unique = pc.count_distinct(ids).as_py()
    if num_unique != len(ids):
        raise ValueError(f"{len(ids) - num_unique} {item}s come twice in the members; give each {item} once")
    bad = ids.filter(pc.invert(pc.match_substring_regex(ids, r"^[A-Za-z0-9_-]{1,95}$")))
    if len(bad):
        raise ValueError(
            f"{item} id {bad[0].as_py()!r} cannot name a tar member; ids are up to 95 letters, digits, hyphens and underscores"
        )


def check_name_is_free(root: Path, name: str, plan_id: str) -> None:
    """A finished dataset never changes; an unfinished one may be replaced.

    Raises:
        ValueError: there is a finished one of another plan.
    """
    finished = root / "shards" / name / "dataset.json"
    if finished.exists() and read_json(finished)["plan_id"] != plan_id:
        raise ValueError(
            f"dataset name {name!r} is taken by a dataset with other content, and datasets never change; choose another --name"
        )


def _rows_sha256(part: pa.Table, anew: dict[str, int]) -> str:
    """SHA-256 over the rows' values, free of how Arrow or Parquet lay them out."""
    digest = hashlib.sha256(json.dumps(anew).encode() if anew else b"")
    for column in part.column_names:
        digest.update(json.dumps([column, part[column].to_pylist()], separators=(",", ":")).encode())
    return digest.hexdigest()

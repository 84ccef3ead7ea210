"""What the stages ask the lake about datasets: bound parameters only, records out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from warehouse.forgotten import read_records
from warehouse.lake import Lake, LakeError
from warehouse.near_names import near_hint
from warehouse.records import Dataset, Shard
from warehouse.statements import quote

__all__ = ["dataset_members", "dataset_named", "export_shard_rows", "latest_dataset", "refuse_name_of_others", "refuse_taken_name"]


def dataset_members(lake: Lake, selection_id: str, tree_id: str) -> pa.Table:
    """What sharding needs of each selected frame, with its cluster at every level (finest first)."""
    return lake.query(
        """SELECT c.* EXCLUDE (blur, pack_id, sha256, phash), k.cluster_path, f.blur, f.luma, f.dark_share, f.bright_share,
                  f.specular_share, f.bubble_share, f.stool_share, f.motion, f.out_of_body, f.text_share, f.phash
           FROM selections s JOIN candidates c USING (frame_id) JOIN frames f USING (frame_id)
           JOIN (SELECT frame_id, list(cluster_id ORDER BY level) AS cluster_path FROM clusters WHERE tree_id = $2 GROUP BY frame_id) k
           USING (frame_id) WHERE s.selection_id = $1 ORDER BY s.rank""",
        [selection_id, tree_id],
    )


def dataset_named(lake: Lake, name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        LakeError: there is none; the message lists the names there are.
    """
    # without a parameter, for which DuckDB loads pandas, so that a wrong name is refused at once
    rows = lake.rows("SELECT dataset_id, name, path, selection_id, num_images FROM datasets ORDER BY name")
    names = list(dict.fromkeys(row["name"] for row in rows))
    rows = [row for row in rows if row["name"] == name]
    if not rows:
        known = ", ".join(names) or "none yet; run `endoforge curate` first"
        raise LakeError(f"there is no dataset {name!r} in {lake.root}; known: {known}{near_hint(name, names)}")
    shards = lake.rows(
        # a dataset of the same content under another name has the same id
        """SELECT shard AS name, path, sha256, num_bytes, num_images FROM shards
           WHERE dataset_id = $1 AND starts_with(path, $2 || '/') ORDER BY shard""",
        [rows[0]["dataset_id"], rows[0]["path"]],
    )
    if not shards:
        raise LakeError(f"dataset {name!r} was withdrawn, because what it held was forgotten; {_successor(lake, rows[0]['dataset_id'])}")
    return Dataset(**rows[0], shards=tuple(Shard(**row) for row in shards))


def _successor(lake: Lake, dataset_id: str) -> str:
    name = next((record.datasets[dataset_id] for record in read_records(lake.root) if record.datasets.get(dataset_id)), "")
    return f"{name!r} stands in for it" if name else "run `endoforge curate` for another"


def export_shard_rows(lake: Lake, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """Write what the lake says of each shard's frames as Parquet: place, time, video and the SHA-256 of the JPEG; null where it was made
    smaller.

    Returns:
        The folder of each shard's rows, by the shard's name.
    """
    # a dataset of the same content under another name has the same id, and rows of its own with the names of its own shards
    parts = lake.copy_to_partitions(
        f"""SELECT DISTINCT s.shard, s.position, s.frame_id, f.video_id, f.pts_us, s.byte_offset, s.byte_size,
                   CASE WHEN s.byte_size = f.byte_size AND (r.config ->> 'max_side') IS NULL THEN f.sha256 END AS sha256
            FROM shard_frames s JOIN frames f USING (frame_id)
            CROSS JOIN (SELECT any_value(r.config) AS config FROM runs r JOIN datasets d USING (run_id)
                        WHERE d.name = {quote(dataset.name)}) r
            WHERE s.dataset_id = {quote(dataset.dataset_id)} AND starts_with(s.shard, {quote(dataset.name + "-")})
                  AND length(s.shard) = {len(dataset.name + "-000000.tar")}""",
        folder,
        "shard",
    )
    return {part.name.removeprefix("shard="): part for part in parts}


def refuse_name_of_others(lake: Lake, name: str, *, size: int, seed: int) -> None:
    """Stop before any work where a dataset of that name cannot have the content that is asked for.

    A dataset that took all candidates there were may be right for another size too, so it is not refused unless it is larger.

    Raises:
        LakeError: a dataset of that name is larger than `size`, or was drawn by another size or seed.
    """
    drawn = lake.rows(
        """SELECT d.dataset_id, d.num_images, a.num_rows AS num_selected, (r.config ->> 'size')::BIGINT AS size, r.seed
           FROM datasets d JOIN edges e ON e.artifact_id = d.selection_id AND e.direction = 'output'
           JOIN runs r ON r.run_id = e.run_id AND r.stage = 'select' AND r.status = 'complete'
           JOIN artifacts a ON a.artifact_id = d.selection_id WHERE d.name = $1""",
        [name],
    )
    is_larger = any(row["num_selected"] > size for row in drawn)
    took_all = any(row["num_selected"] < row["size"] for row in drawn)
    is_same = any((row["size"], row["seed"]) == (size, seed) for row in drawn)
    if is_larger or (drawn and not took_all and not is_same):
        raise LakeError(
            f"the name {name!r} is taken by dataset {drawn[0]['dataset_id'][:16]} of {drawn[0]['num_images']} images with other content "
            f"(size {drawn[0]['size']}, seed {drawn[0]['seed']}), and a dataset never changes; choose another --name"
        )


def refuse_taken_name(lake: Lake, name: str, selection_id: str) -> None:
    """Stop before work is done under a dataset name that means something else.

    Raises:
        LakeError: a dataset of that name was made from another selection.
    """
    taken = lake.rows("SELECT dataset_id FROM datasets WHERE name = $1 AND selection_id <> $2", [name, selection_id])
    if taken:
        raise LakeError(
            f"the name {name!r} is taken by dataset {taken[0]['dataset_id'][:16]} with other content, and a dataset never changes; "
            "choose another --name"
        )


def latest_dataset(lake: Lake, prefix: str) -> str:
    """The name of the newest dataset whose name starts with `prefix`.

    Raises:
        LakeError: there is none.
    """
    rows = lake.rows(
        """SELECT d.name FROM datasets d JOIN runs r ON r.run_id = d.run_id AND r.status = 'complete'
           WHERE starts_with(d.name, $1) ORDER BY r.ended_at DESC LIMIT 1""",
        [prefix],
    )
    if not rows:
        raise LakeError(
            f"no dataset in {lake.root} has a name that starts with {prefix!r}; run `endoforge curate` or the nightly flow first"
        )
    return str(rows[0]["name"])

"""Whether pictures that a model is judged by are among those that it learned from, as far as the lake knows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from warehouse.lake import Lake

__all__ = ["DatasetFrame", "dataset_frames", "held_out_lists", "learned_elsewhere", "num_in_datasets", "training_datasets"]

_RUNS_BEFORE = """
    WITH RECURSIVE runs_before AS (
        SELECT run_id, 1 AS depth FROM checkpoints WHERE checkpoint_id = $1
        UNION
        SELECT c.run_id, b.depth + 1 FROM runs_before b JOIN edges e ON e.run_id = b.run_id AND e.direction = 'input'
        JOIN checkpoints c ON c.checkpoint_id = e.artifact_id WHERE b.depth < 20)"""
"""The run of a checkpoint, and those of the checkpoints that it started from."""


def training_datasets(lake: Lake, checkpoint_id: str) -> tuple[str, ...]:
    """Ids of the datasets that a checkpoint learned from, itself or as the one that it started from; none if the lake does not know."""
    rows = lake.rows(
        f"""{_RUNS_BEFORE}
           SELECT DISTINCT d.dataset_id FROM runs_before b JOIN edges e ON e.run_id = b.run_id AND e.direction = 'input'
           JOIN datasets d ON d.dataset_id = e.artifact_id ORDER BY d.dataset_id""",
        [checkpoint_id],
    )
    return tuple(str(row["dataset_id"]) for row in rows)


def learned_elsewhere(lake: Lake, checkpoint_id: str) -> bool:
    """Whether a checkpoint started, itself or through others, from weights that this lake did not train."""
    rows = lake.rows(
        f"""{_RUNS_BEFORE}
           SELECT 1 FROM runs_before b JOIN edges e ON e.run_id = b.run_id AND e.direction = 'input'
           JOIN artifacts a ON a.artifact_id = e.artifact_id
           WHERE a.kind = 'weights' OR (a.kind = 'checkpoint' AND a.artifact_id NOT IN (SELECT checkpoint_id FROM checkpoints)) LIMIT 1""",
        [checkpoint_id],
    )
    return bool(rows)


def num_in_datasets(lake: Lake, hashes: Collection[str], dataset_ids: Collection[str]) -> int:
    """How many of some files, by SHA-256, are byte by byte the JPEG of a frame of these datasets."""
    (row,) = lake.rows(
        """SELECT count(DISTINCT f.sha256) AS num FROM (SELECT DISTINCT frame_id FROM dataset_frames
               WHERE dataset_id IN (SELECT unnest($1::VARCHAR[]))) s
           JOIN frames f USING (frame_id) WHERE f.sha256 IN (SELECT unnest($2::VARCHAR[]))""",
        [sorted(dataset_ids), sorted(set(hashes))],
    )
    return int(row["num"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFrame:
    """A frame of a dataset: where its JPEG and its embedding lie, below the lake's root."""

    frame_id: str
    pack_path: str
    byte_offset: int
    byte_size: int
    embedding_path: str


def dataset_frames(lake: Lake, dataset_ids: Collection[str]) -> tuple[str | None, tuple[DatasetFrame, ...]]:
    """The frames of datasets with their embeddings, and the encoder of these: the one that embedded all of them, and None if there is none.

    A frame whose pixels were removed has no place, so then there is none either. Nor is there one of clips: most of their frames were never
    embedded.
    """
    rows = lake.rows(
        """WITH wanted AS (SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id IN (SELECT unnest($1::VARCHAR[]))),
                placed AS (SELECT w.frame_id, c.pack_path, c.byte_offset, c.byte_size, e.path AS embedding_path, e.encoder_id
                           FROM wanted w JOIN candidates c USING (frame_id) JOIN embeddings e ON e.pack_id = c.pack_id),
                whole AS (SELECT encoder_id FROM placed GROUP BY encoder_id
                          HAVING count(DISTINCT frame_id) = (SELECT count(*) FROM wanted) ORDER BY encoder_id LIMIT 1)
           SELECT * FROM placed WHERE encoder_id = (SELECT encoder_id FROM whole)
               AND NOT EXISTS (SELECT 1 FROM shard_clips WHERE dataset_id IN (SELECT unnest($1::VARCHAR[])))
           QUALIFY row_number() OVER (PARTITION BY frame_id ORDER BY embedding_path) = 1 ORDER BY embedding_path, frame_id""",
        [sorted(dataset_ids)],
    )
    frames = tuple(DatasetFrame(**{name: value for name, value in row.items() if name != "encoder_id"}) for row in rows)
    return (str(rows[0]["encoder_id"]) if rows else None), frames


def held_out_lists(lake: Lake, dataset_id: str) -> frozenset[str]:
    """Ids of the hold-out lists whose copies the dataset's deduplication left out."""
    rows = lake.rows(
        """SELECT DISTINCT a.artifact_id FROM datasets d
           JOIN edges o ON o.artifact_id = d.dedup_id AND o.direction = 'output'
           JOIN edges i ON i.run_id = o.run_id AND i.direction = 'input'
           JOIN artifacts h ON h.artifact_id = i.artifact_id AND h.kind = 'holdout'
           JOIN edges m ON m.artifact_id = h.artifact_id AND m.direction = 'output'
           JOIN edges n ON n.run_id = m.run_id AND n.direction = 'input'
           JOIN artifacts a ON a.artifact_id = n.artifact_id AND a.kind = 'holdout_list' WHERE d.dataset_id = $1""",
        [dataset_id],
    )
    return frozenset(str(row["artifact_id"]) for row in rows)

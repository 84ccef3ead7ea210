"""Which cluster tree new frames can be placed in, and how well those placed before have fitted."""

from __future__ import annotations

from dataclasses import dataclass

from warehouse.lake import Lake
from warehouse.records import Artifact

__all__ = ["KnownTree", "latest_tree", "num_unique", "placed_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTree:
    """A finished clustering; `num_rows` of its artifact are the frames that it was fitted to."""

    artifact: Artifact
    mean_distance: float
    """of those frames to their finest centroids"""


def latest_tree(lake: Lake, config: str, version: int) -> KnownTree | None:
    """The newest tree that was made with these settings (canonical JSON, the encoder among them) by this version of the stage.

    A tree from before the encoder's frames were embedded by the version that they are embedded by now is none: its centroids are of other
    vectors.
    """
    rows = lake.rows(
        """SELECT a.*, (r.metrics ->> 'mean_distance')::DOUBLE AS mean_distance
           FROM runs r JOIN edges e ON e.run_id = r.run_id AND e.direction = 'output' JOIN artifacts a USING (artifact_id)
           WHERE r.stage = 'cluster' AND r.status = 'complete' AND r.config = $1 AND r.stage_version = $2 AND a.kind = 'cluster_tree'
             AND NOT EXISTS (
                 SELECT 1 FROM (
                     SELECT stage_version, min(ended_at) AS since FROM runs
                     WHERE stage = 'embed' AND status = 'complete' AND (config ->> 'encoder_id') = (($1::VARCHAR) ->> 'encoder_id')
                     GROUP BY stage_version ORDER BY stage_version DESC LIMIT 1)
                 WHERE r.ended_at < since)
           ORDER BY r.ended_at DESC LIMIT 1""",
        [config, version],
    )
    if not rows:
        return None
    mean_distance = rows[0].pop("mean_distance")
    return KnownTree(artifact=Artifact(**rows[0]), mean_distance=mean_distance)


def num_unique(lake: Lake, dedup_id: str) -> int:
    """How many frames a deduplication kept."""
    return int(lake.rows("SELECT count(*) AS num FROM dedup WHERE dedup_id = $1 AND NOT is_duplicate", [dedup_id])[0]["num"])


def placed_before(lake: Lake, tree_id: str) -> tuple[int, float]:
    """How many frames were placed in a tree after it was made, and the sum of their distances."""
    (row,) = lake.rows(
        """SELECT coalesce(sum(n), 0)::BIGINT AS num, coalesce(sum(n * mean_distance), 0)::DOUBLE AS total FROM (
               SELECT (r.metrics ->> 'num_new')::DOUBLE AS n, (r.metrics ->> 'mean_distance')::DOUBLE AS mean_distance
               FROM runs r JOIN edges e ON e.run_id = r.run_id AND e.direction = 'input' AND e.artifact_id = $1
               WHERE r.stage = 'place' AND r.status = 'complete')""",
        [tree_id],
    )
    return int(row["num"]), float(row["total"])

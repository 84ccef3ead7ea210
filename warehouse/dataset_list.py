"""What datasets there are, and in what two of them differ."""

from __future__ import annotations

import json
from typing import Any

from warehouse.dataset_queries import dataset_named
from warehouse.lake import Lake

__all__ = ["DATASETS", "dataset_row", "diff_datasets", "shard_settings"]

DATASETS = """
    SELECT d.name, d.dataset_id[:16] AS id, d.num_images AS images, d.num_shards AS shards, s.num_bytes AS bytes,
           strftime(r.ended_at, '%Y-%m-%d %H:%M') AS created, d.selection_id[:16] AS selection, d.seed,
           if(s.num_bytes IS NULL, 'withdrawn', a.status || if(a.is_of_candidates, ' (candidates)', '')) AS audit,
           a.reviewer, a.num_removed AS removed_frames
    FROM datasets d JOIN runs r ON r.run_id = d.run_id AND r.status = 'complete'
    JOIN dataset_audits a ON a.dataset = d.name
    LEFT JOIN (SELECT dataset_id, path[:-(2 + length(shard))] AS folder, sum(num_bytes)::BIGINT AS num_bytes FROM shards GROUP BY ALL) s
           ON s.dataset_id = d.dataset_id AND s.folder = d.path
    ORDER BY r.ended_at, d.name"""
"""one row a dataset, the newest last"""

_PLACES = {
    "video": "f.video_id[:16]",
    "site": "coalesce(i.site, '(not known)')",
    "cluster": "c.cluster_id::VARCHAR",
}


def dataset_row(lake: Lake, name: str) -> dict[str, Any]:
    """The row of the `datasets` table; `dataset_named` refuses a name that there is not."""
    return lake.rows("SELECT * FROM datasets WHERE name = $1", [name])[0]


def shard_settings(lake: Lake, name: str) -> dict[str, Any]:
    """The settings that a dataset was sharded with."""
    rows = lake.rows("SELECT config FROM runs JOIN datasets d USING (run_id) WHERE d.name = $1 AND status = 'complete'", [name])
    settings: dict[str, Any] = json.loads(rows[0]["config"])
    return settings


def diff_datasets(lake: Lake, a: str, b: str, *, most: int) -> str:
    """A page of plain text: ids, settings that differ, and frames only in A, only in B and in both, in all and by video, site, cluster.

    A video ingested with other settings has other frame ids: then the rows by video tell more than the frames.

    Raises:
        LakeError: one of them is not there.
    """
    for name in (a, b):
        dataset_named(lake, name)
    rows = {name: dataset_row(lake, name) for name in (a, b)}
    lines = [f"A {a}", f"B {b}", ""]
    for key in ("dataset_id", "selection_id", "tree_id", "dedup_id", "encoder_id", "num_images", "num_shards"):
        left, right = rows[a][key], rows[b][key]
        lines.append(f"{key:<13} " + (f"{left} (both)" if left == right else f"A {left}  B {right}"))
    settings = {name: _settings(lake, rows[name]) for name in (a, b)}
    differing = [key for key in sorted({**settings[a], **settings[b]}) if settings[a].get(key) != settings[b].get(key)]
    lines += ["", "settings that differ: " + ("" if differing else "none")]
    lines += [f"  {key}: A {json.dumps(settings[a].get(key))}  B {json.dumps(settings[b].get(key))}" for key in differing]
    for place in (None, *_PLACES):
        if place == "cluster" and rows[a]["tree_id"] != rows[b]["tree_id"]:
            lines += ["", "by cluster: not to be compared, for they come from different clusterings"]
            continue
        lines += ["", *_counted(lake, rows[a], rows[b], place, most)]
    return "\n".join(lines) + "\n"


def _counted(lake: Lake, a: dict[str, Any], b: dict[str, Any], place: str | None, most: int) -> list[str]:
    value = _PLACES[place] if place else "'all'"
    found = lake.rows(
        f"""WITH a AS (SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id = $1),
                b AS (SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id = $2),
                matched AS (SELECT frame_id, a.frame_id IS NOT NULL AS in_a, b.frame_id IS NOT NULL AS in_b
                         FROM a FULL JOIN b USING (frame_id)),
                c AS (SELECT frame_id, cluster_id FROM clusters WHERE tree_id = $3
                      AND level = (SELECT max(level) FROM clusters WHERE tree_id = $3))
            SELECT {value} AS place, count(*) FILTER (in_a AND NOT in_b) AS only_a, count(*) FILTER (in_b AND NOT in_a) AS only_b,
                   count(*) FILTER (in_a AND in_b) AS in_both
            FROM matched JOIN frames f USING (frame_id) LEFT JOIN video_info i USING (video_id) LEFT JOIN c USING (frame_id)
            GROUP BY place ORDER BY only_a + only_b DESC, in_both DESC, place""",
        [a["dataset_id"], b["dataset_id"], a["tree_id"]],
    )
    lines = [f"{'by ' + place if place else 'frames':<18}{'only A':>12}{'only B':>12}{'both':>12}"]
    lines += [f"{row['place'] or '':<18}{row['only_a']:>12}{row['only_b']:>12}{row['in_both']:>12}" for row in found[:most]]
    return [*lines, f"... and {len(found) - most} more"] if len(found) > most else lines


def _settings(lake: Lake, row: dict[str, Any]) -> dict[str, Any]:
    """Settings by stage and name of the runs that a dataset came from."""
    runs = lake.rows(
        """SELECT DISTINCT r.stage, r.config FROM runs r WHERE r.status = 'complete' AND (r.run_id = $1 OR r.run_id IN (
               SELECT run_id FROM edges WHERE direction = 'output' AND list_contains($2::VARCHAR[], artifact_id)))""",
        [row["run_id"], [row["selection_id"], row["tree_id"], row["dedup_id"]]],
    )
    return {f"{run['stage']}.{key}": value for run in runs for key, value in json.loads(run["config"]).items()}

"""What stands behind the points: a frame's scores, neighbours and uses, its video over time, clusters, datasets and nights.

Everything is plain values, so that a page can be served them one by one or written with them all. Names of files stay out.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from flows.atlas.nearest import nearest_rows
from flows.atlas.points import Atlas
from warehouse.lake import Lake
from warehouse.views import VIEWS

__all__ = ["cluster_tree", "compared", "frames_of", "nights", "part_script", "videos_of"]

_SAMPLES = 6
"""Pictures of each cluster, and of each side of two datasets."""
_SCORES = (
    "blur",
    "luma",
    "dark_share",
    "bright_share",
    "specular_share",
    "bubble_share",
    "stool_share",
    "motion",
    "out_of_body",
    "text_share",
    "unconfirmed_share",
)


def part_script(name: str, content: Any) -> bytes:
    """A part as a script, which a page can load from a folder too: `told("frames/3", {...})`."""
    return f"told({json.dumps(name)}, {json.dumps(content, separators=(',', ':'), default=str)});\n".encode()


def frames_of(lake: Lake, atlas: Atlas, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Of each of these points scores, text boxes, neighbours, and what was made of the frame."""
    frame_ids = [atlas.frame_ids[number] for number in numbers]
    rows = lake.rows(
        f"""SELECT frame_id, {", ".join(_SCORES)}, imaging_mode, text_boxes, width, height FROM frames
            SEMI JOIN (SELECT unnest($1::VARCHAR[]) AS frame_id) s USING (frame_id)""",
        [frame_ids],
    )
    held = lake.rows(
        """SELECT s.frame_id, d.name, any_value(d.num_images) AS num_images, min(s.shard) AS shard
           FROM shard_frames s JOIN datasets d USING (dataset_id) SEMI JOIN (SELECT unnest($1::VARCHAR[]) AS frame_id) w USING (frame_id)
           GROUP BY s.frame_id, d.name ORDER BY d.name""",
        [frame_ids],
    )
    models = lake.rows(f"SELECT run_id, step, datasets, validation_metric, validation_score, num_scores FROM ({VIEWS['models'].sql})")
    known = {row["frame_id"]: row for row in rows}
    videos = {video_id: place for place, video_id in enumerate(atlas.videos)}
    datasets: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in held:
        datasets[each["frame_id"]].append({name: each[name] for name in ("name", "num_images", "shard")})
    return [
        _frame(
            known[atlas.frame_ids[number]],
            near=nearest_rows(atlas.vectors, atlas.vectors[number], without=number),
            near_beside=nearest_rows(beside.vectors, beside.vectors[number], without=number) if (beside := atlas.beside) else (),
            video=videos[atlas.video_ids[number]],
            datasets=datasets[atlas.frame_ids[number]],
            models=models,
        )
        for number in numbers
    ]


def _frame(
    row: Mapping[str, Any],
    *,
    near: Sequence[tuple[int, float]],
    near_beside: Sequence[tuple[int, float]],
    video: int,
    datasets: Sequence[Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    names = {each["name"] for each in datasets}
    return {
        "scores": {name: _shown(row[name]) for name in _SCORES if row[name] is not None},
        "mode": row["imaging_mode"],
        "boxes": json.loads(row["text_boxes"] or "[]"),
        "size": [row["width"], row["height"]],
        "near": near,
        "near_beside": near_beside,
        "video": video,
        "datasets": datasets,
        "models": [{**model, "datasets": None} for model in models if names & set(model["datasets"] or ())],
    }


def videos_of(lake: Lake, atlas: Atlas, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Of each of these videos every sampled frame over time: second, what became of it, and its point if it is on the map."""
    video_ids = [atlas.videos[number] for number in numbers]
    rows = lake.rows(
        """SELECT video_id, frame_id, pts_us, keep, drop_reason FROM current_frames
           WHERE video_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY video_id, pts_us""",
        [video_ids],
    )
    flagged = lake.rows("SELECT video_id, flag, share, is_audited FROM flagged_videos")
    points = {frame_id: place for place, frame_id in enumerate(atlas.frame_ids)}
    of_video: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_video[row["video_id"]].append(row)
    return [
        {
            "id": video_id[:12],
            "seconds": [round(row["pts_us"] / 1e6, 2) for row in of_video[video_id]],
            "fates": ["kept" if row["keep"] else row["drop_reason"] for row in of_video[video_id]],
            "points": [points.get(row["frame_id"], -1) for row in of_video[video_id]],
            "flags": [
                f"{row['flag']} {row['share']:.0%}, {'looked at' if row['is_audited'] else 'not looked at yet'}"
                for row in flagged
                if row["video_id"] == video_id
            ],
        }
        for video_id in video_ids
    ]


def cluster_tree(lake: Lake, atlas: Atlas) -> dict[str, Any]:
    """The clusters that have a point on the map, of each level: frames before and after sampling, some points, and the cluster above.

    Levels go from the coarsest to the finest; each is a list of [id, before, after, points, place of the cluster above in its level].
    """
    if atlas.dataset is None:
        return {"levels": []}
    found = lake.rows(
        """SELECT c.frame_id, c.level, c.cluster_id FROM clusters c
           SEMI JOIN (SELECT unnest($2::VARCHAR[]) AS frame_id) s ON s.frame_id = c.frame_id
           WHERE c.tree_id = (SELECT tree_id FROM datasets WHERE name = $1 LIMIT 1)""",
        [atlas.dataset, list(atlas.frame_ids)],
    )
    points = {frame_id: place for place, frame_id in enumerate(atlas.frame_ids)}
    of_point: dict[int, dict[int, int]] = defaultdict(dict)
    for row in found:
        of_point[row["level"]][points[row["frame_id"]]] = row["cluster_id"]
    sizes = {
        (row["level"], row["cluster_id"]): (row["num_frames"], row["num_selected"])
        for row in lake.rows("SELECT level, cluster_id, num_frames, num_selected FROM per_cluster WHERE dataset = $1", [atlas.dataset])
    }
    levels: list[list[list[Any]]] = []
    above: Mapping[int, int] = {}
    for level in sorted(of_point, reverse=True):
        members: dict[int, list[int]] = defaultdict(list)
        for point, cluster in sorted(of_point[level].items()):
            members[cluster].append(point)
        order = sorted(members, key=lambda cluster: (-sizes.get((level, cluster), (0, 0))[0], cluster))
        levels.append(
            [
                [cluster, *sizes.get((level, cluster), (0, 0)), members[cluster][:_SAMPLES], above.get(members[cluster][0], -1)]
                for cluster in order
            ]
        )
        places = {cluster: place for place, cluster in enumerate(order)}
        above = {point: places[cluster] for point, cluster in of_point[level].items()}
    return {"levels": levels}


def compared(lake: Lake, atlas: Atlas, names: Sequence[str]) -> dict[str, Any]:
    """Two datasets side by side: images of each, in both and in one alone, by mode, site, device and video, with points of each side."""
    rows = lake.rows(
        """SELECT s.frame_id, list(DISTINCT d.name ORDER BY d.name) AS names FROM shard_frames s JOIN datasets d USING (dataset_id)
           WHERE d.name IN ($1, $2) GROUP BY s.frame_id ORDER BY s.frame_id""",
        list(names),
    )
    points = {frame_id: place for place, frame_id in enumerate(atlas.frame_ids)}
    sides = {name: [row["frame_id"] for row in rows if row["names"] == [name]] for name in names}
    counts = lake.rows(
        """SELECT d.name, coalesce(f.imaging_mode, 'unknown') AS mode, coalesce(i.site, 'unknown') AS site,
                  coalesce(i.device, 'unknown') AS device, f.video_id[:12] AS video, count(DISTINCT s.frame_id) AS num
           FROM shard_frames s JOIN datasets d USING (dataset_id) JOIN frames f ON f.frame_id = s.frame_id
           LEFT JOIN video_info i ON i.video_id = f.video_id WHERE d.name IN ($1, $2) GROUP BY ALL""",
        list(names),
    )
    by = {column: _by(counts, column, names) for column in ("mode", "site", "device", "video")}
    return {
        "names": list(names),
        "both": sum(len(row["names"]) == 2 for row in rows),
        "only": [len(sides[name]) for name in names],
        "by": {column: told for column, told in by.items() if len(told) > 1},
        "points": [[points[frame] for frame in sides[name] if frame in points][:_SAMPLES] for name in names],
    }


def _by(counts: Sequence[Mapping[str, Any]], column: str, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Images of both datasets by a word, the most frequent first."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in counts:
        tally[row[column]][names.index(row["name"])] += row["num"]
    found = [(word, first, second) for word, (first, second) in tally.items()]
    return sorted(found, key=lambda each: (-each[1] - each[2], each[0]))[:20]


def nights(lake: Lake) -> list[dict[str, Any]]:
    """What each night brought."""
    rows = lake.rows(f"SELECT * FROM ({VIEWS['nights'].sql})")
    return [{**row, "night": str(row["night"]), "video_hours": round(row["video_hours"] or 0.0, 2)} for row in rows]


def _shown(value: float) -> float | None:
    return round(float(value), 3) if math.isfinite(value) else None

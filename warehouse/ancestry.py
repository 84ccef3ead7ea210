"""The tree behind an artifact: from a score back to the videos, and from a video forward to the models that saw it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from warehouse.lake import Lake, LakeError

__all__ = ["LineageNode", "lineage", "resolve_id"]

MAX_CHILDREN = 8
"""of one kind shown under a run where no other number is asked for; the rest is counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageNode:
    """One line of the tree and what it came from (or what came of it)."""

    label: str
    children: tuple[LineageNode, ...] = ()


@dataclass(frozen=True, slots=True)
class _Trail:
    """A walk's own state: runs that the tree shows already, and how many things of a kind it shows under each."""

    limit: int
    seen: set[str] = field(default_factory=set)


def lineage(lake: Lake, identifier: str, *, max_children: int = MAX_CHILDREN) -> tuple[LineageNode, LineageNode]:
    """What an id was made from, and what was made from it.

    Args:
        lake: where to look.
        identifier: an artifact, run, score, frame, clip, shard or dataset id, a unique prefix of one (8 characters or more), or the name
            of a dataset or shard.
        max_children: things of one kind shown under a run; the rest is counted.

    Returns:
        The tree of origins and the tree of uses, each with the id itself as its root.

    Raises:
        LakeError: nothing, or more than one thing, has that id.
    """
    kind, found = resolve_id(lake, identifier)
    if kind == "frame":
        return _frame_lineage(lake, found, max_children)
    if kind == "clip":
        return _clip_lineage(lake, found, max_children)
    if kind == "shard":
        return _shard_lineage(lake, found, max_children)
    if kind == "run":
        label = _run_label(lake, found)
        return (
            LineageNode(label=label, children=_of_run(lake, found, "input", "output", _Trail(max_children, {found}))),
            LineageNode(label=label, children=_of_run(lake, found, "output", "input", _Trail(max_children, {found}))),
        )
    return _walk(lake, found, "output", "input", _Trail(max_children)), _walk(lake, found, "input", "output", _Trail(max_children))


def resolve_id(lake: Lake, identifier: str) -> tuple[str, str]:
    """The kind and the full id that `identifier` (an id, a unique prefix of one, or a dataset's name) stands for."""
    named = lake.look_up("SELECT DISTINCT dataset_id FROM datasets WHERE name = $1", identifier)
    if len(named) == 1:
        return "dataset", str(named[0]["dataset_id"])
    is_frame = re.match("[0-9a-f]{16}-", identifier) is not None  # before the dash it is the video that is meant
    found = lake.look_up(
        f"""SELECT DISTINCT kind, artifact_id AS id FROM artifacts WHERE starts_with(artifact_id, $1)
           UNION SELECT 'run', run_id FROM runs WHERE starts_with(run_id, $1) AND status = 'complete'
           UNION SELECT 'shard', sha256 FROM shards WHERE starts_with(sha256, $1) OR shard IN ($1, $1 || '.tar')
           UNION SELECT 'frame', frame_id FROM frames WHERE {is_frame} AND starts_with(frame_id, $1)
           UNION SELECT 'clip', clip_id FROM clips WHERE {is_frame} AND starts_with(clip_id, $1)
           LIMIT 10""",
        identifier,
    )
    exact = [row for row in found if row["id"] == identifier or (row["kind"] == "shard" and not row["id"].startswith(identifier))]
    found = exact or found
    if len(identifier) < 8 and not exact:
        raise LakeError(f"{identifier!r} is too short for an id prefix; give at least 8 characters")
    if not found:
        raise LakeError(f"nothing in {lake.root} has the id {identifier!r}; `endoforge sql` on artifacts, runs, scores or frames lists ids")
    if len(found) > 1:
        raise LakeError(f"{identifier!r} is the start of several ids, such as {found[0]['id']} and {found[1]['id']}; give more of it")
    return str(found[0]["kind"]), str(found[0]["id"])


def _walk(lake: Lake, artifact_id: str, near: str, far: str, trail: _Trail) -> LineageNode:
    """One artifact and, through the runs it is at the `near` end of, everything at their `far` end."""
    row = lake.rows("SELECT kind, uri, num_rows FROM artifacts WHERE artifact_id = $1 LIMIT 1", [artifact_id])[0]
    rows = f", {row['num_rows']} rows" if row["num_rows"] is not None else ""
    label = f"{row['kind']} {artifact_id[:16]} ({row['uri']}{rows})"
    if row["kind"] == "dataset" and not lake.rows("SELECT 1 FROM shards WHERE dataset_id = $1 LIMIT 1", [artifact_id]):
        label += ", withdrawn: what it held was forgotten"
    if row["kind"] == "frame_pack" and near == "output":  # its run made many packs: the packs table knows the one video
        return LineageNode(label=label, children=_video_of_pack(lake, artifact_id))
    if row["kind"] == "embedding_part" and near == "output":
        return LineageNode(label=label, children=_pack_of_part(lake, artifact_id, trail))
    children: list[LineageNode] = []
    known_better = ""  # the stage whose run says less than the tables: what it made of the other videos is no descendant of this one
    if row["kind"] == "video" and near == "input":
        children, known_better = [*_datasets_with(lake, artifact_id), *_packs_of_video(lake, artifact_id, trail)], "ingest"
    if row["kind"] == "frame_pack" and near == "input":
        children, known_better = [*_parts_of_pack(lake, artifact_id, trail)], "embed"
    runs = lake.rows(
        """SELECT DISTINCT e.run_id FROM edges e JOIN runs r ON r.run_id = e.run_id AND r.status = 'complete'
           WHERE e.artifact_id = $1 AND e.direction = $2 AND r.stage <> $3""",
        [artifact_id, near, known_better],
    )
    for run in sorted(str(item["run_id"]) for item in runs):
        if run in trail.seen:
            children.append(LineageNode(label=f"run {run} (shown above)"))
            continue
        trail.seen.add(run)
        children.append(LineageNode(label=_run_label(lake, run), children=_of_run(lake, run, far, near, trail)))
    return LineageNode(label=label, children=tuple(children))


def _of_run(lake: Lake, run_id: str, far: str, near: str, trail: _Trail) -> tuple[LineageNode, ...]:
    counted = lake.rows(
        """SELECT a.kind, count(DISTINCT a.artifact_id) AS num, list(DISTINCT a.artifact_id ORDER BY a.artifact_id)[1:$3] AS ids
           FROM edges e JOIN artifacts a USING (artifact_id) WHERE e.run_id = $1 AND e.direction = $2 GROUP BY a.kind ORDER BY a.kind""",
        [run_id, far, trail.limit],
    )
    nodes: list[LineageNode] = []
    for group in counted:
        nodes += [_walk(lake, str(item), near, far, trail) for item in group["ids"]]
        if group["num"] > len(group["ids"]):
            nodes.append(LineageNode(label=f"... and {group['num'] - len(group['ids'])} more of kind {group['kind']}"))
    return tuple(nodes)


def _run_label(lake: Lake, run_id: str) -> str:
    row = lake.rows(
        """SELECT stage, status, runner, code_version, strftime(ended_at, '%Y-%m-%d %H:%M:%S') AS ended
           FROM runs WHERE run_id = $1 ORDER BY status LIMIT 1""",
        [run_id],
    )[0]
    return f"run {run_id} ({row['stage']}, {row['status']} {row['ended']} UTC, {row['runner']}, code {row['code_version'][:12]})"


def _video_of_pack(lake: Lake, pack_id: str) -> tuple[LineageNode, ...]:
    rows = lake.rows(
        """SELECT DISTINCT v.video_id, v.uri, v.run_id FROM packs p JOIN videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
           WHERE p.pack_id = $1""",
        [pack_id],
    )
    return tuple(LineageNode(label=f"video {row['video_id'][:16]} ({row['uri']}), by run {row['run_id']}") for row in rows)


def _pack_of_part(lake: Lake, part_id: str, trail: _Trail) -> tuple[LineageNode, ...]:
    rows = lake.rows("SELECT DISTINCT pack_id FROM embeddings WHERE part_id = $1", [part_id])
    return tuple(_walk(lake, str(row["pack_id"]), "output", "input", trail) for row in rows)


def _packs_of_video(lake: Lake, video_id: str, trail: _Trail) -> tuple[LineageNode, ...]:
    rows = lake.rows("SELECT DISTINCT pack_id FROM packs WHERE video_id = $1 ORDER BY pack_id", [video_id])
    return tuple(_walk(lake, str(row["pack_id"]), "input", "output", trail) for row in rows)


def _parts_of_pack(lake: Lake, pack_id: str, trail: _Trail) -> tuple[LineageNode, ...]:
    rows = lake.rows("SELECT DISTINCT part_id FROM embeddings WHERE pack_id = $1 ORDER BY part_id", [pack_id])
    return tuple(_walk(lake, str(row["part_id"]), "input", "output", trail) for row in rows)


def _datasets_with(lake: Lake, video_id: str) -> tuple[LineageNode, ...]:
    rows = lake.rows(
        """SELECT d.name, d.dataset_id, count(DISTINCT s.frame_id) AS num, 'frames' AS what
           FROM shard_frames s JOIN datasets d USING (dataset_id)
           WHERE s.frame_id IN (SELECT frame_id FROM frames WHERE video_id = $1) GROUP BY ALL
           UNION ALL
           SELECT d.name, d.dataset_id, count(DISTINCT s.clip_id), 'clips' FROM shard_clips s JOIN datasets d USING (dataset_id)
           WHERE s.clip_id IN (SELECT clip_id FROM clips WHERE video_id = $1) GROUP BY ALL ORDER BY ALL""",
        [video_id],
    )
    return tuple(
        LineageNode(label=f"{row['num']} of its {row['what']} are in dataset {row['name']} ({row['dataset_id'][:16]})") for row in rows
    )


def _shard_lineage(lake: Lake, sha256: str, max_children: int) -> tuple[LineageNode, LineageNode]:
    row = lake.rows("SELECT * FROM shards WHERE sha256 = $1 LIMIT 1", [sha256])[0]
    videos = lake.rows(
        """SELECT v.video_id, v.uri, count(DISTINCT s.frame_id) AS num, 'frames' AS what
           FROM shard_frames s JOIN frames f USING (frame_id) JOIN videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
           WHERE s.dataset_id = $1 AND s.shard = $2 GROUP BY ALL
           UNION ALL
           SELECT v.video_id, v.uri, count(DISTINCT s.clip_id) AS num, 'clips'
           FROM shard_clips s JOIN clips c USING (clip_id) JOIN latest_videos v ON v.video_id = c.video_id
           WHERE s.dataset_id = $1 AND s.shard = $2 GROUP BY ALL ORDER BY num DESC, v.uri""",
        [row["dataset_id"], row["shard"]],
    )
    what = "clips" if any(video["what"] == "clips" for video in videos) else "images"
    label = f"shard {row['shard']} ({row['num_images']} {what}, sha256 {sha256[:16]})"
    labels = [f"{video['num']} {video['what']} of video {video['video_id'][:16]} ({video['uri']})" for video in videos[:max_children]]
    if len(videos) > max_children:
        labels.append(f"... and {len(videos) - max_children} more of kind video")
    origins = tuple(LineageNode(label=origin) for origin in labels)
    dataset = _walk(lake, str(row["dataset_id"]), "input", "output", _Trail(max_children))
    return LineageNode(label=label, children=origins), LineageNode(label=label, children=(dataset,))


def _clip_lineage(lake: Lake, clip_id: str, max_children: int) -> tuple[LineageNode, LineageNode]:
    """From a clip to its frames and video, and to its shards and datasets."""
    row = lake.rows("SELECT * FROM clips WHERE clip_id = $1 LIMIT 1", [clip_id])[0]
    fate = "kept" if row["keep"] else f"refused: {row['drop_reason']}"
    label = f"clip {clip_id} ({row['start_us'] / 1e6:.3f} to {row['end_us'] / 1e6:.3f} s, {row['num_frames']} frames, {fate})"
    videos = lake.rows(
        """SELECT DISTINCT v.video_id, v.uri, c.run_id FROM clip_videos c JOIN latest_videos v USING (video_id)
           WHERE c.video_id = $1 AND c.cut_key = $2""",
        [row["video_id"], row["cut_key"]],
    )
    frames = lake.rows("SELECT frame_id FROM clip_frames WHERE clip_id = $1 ORDER BY frame_id", [clip_id])
    named = [LineageNode(label=f"frame {frame['frame_id']}") for frame in frames[:max_children]]
    if len(frames) > max_children:
        named.append(LineageNode(label=f"... and {len(frames) - max_children} more of kind frame"))
    origins = [LineageNode(label=f"video {one['video_id'][:16]} ({one['uri']}), cut by run {one['run_id']}") for one in videos]
    uses = []
    for use in lake.rows("SELECT DISTINCT dataset_id, shard FROM shard_clips WHERE clip_id = $1 ORDER BY ALL", [clip_id]):
        dataset = _walk(lake, str(use["dataset_id"]), "input", "output", _Trail(max_children))
        uses.append(LineageNode(label=f"shard {use['shard']}", children=(dataset,)))
    return LineageNode(label=label, children=(*origins, *named)), LineageNode(label=label, children=tuple(uses))


def _fate(row: dict[str, Any]) -> str:
    return "kept" if row["keep"] else f"dropped: {row['drop_reason']}"


def _frame_lineage(lake: Lake, frame_id: str, max_children: int) -> tuple[LineageNode, LineageNode]:
    row = lake.rows(
        """SELECT f.*, x.reason AS removed FROM frames f LEFT JOIN removed_frames x ON x.frame_id = f.frame_id
           WHERE f.frame_id = $1 LIMIT 1""",
        [frame_id],
    )[0]
    fate = _fate(row)
    if row["removed"]:
        fate += f", since then removed: {row['removed']}"
    else:
        for now in lake.rows("SELECT keep, drop_reason FROM current_frames WHERE frame_id = $1", [frame_id]):
            fate += f", since then {_fate(now)}" if _fate(now) != fate else ""
    for new in lake.rows("SELECT new_frame_id FROM replaced_frames WHERE frame_id = $1", [frame_id]):
        fate += f", since then replaced by {new['new_frame_id']}"
    label = f"frame {frame_id} (at {row['pts_us'] / 1e6:.3f} s, {fate})"
    origin = _video_of_pack(lake, row["pack_id"]) if row["pack_id"] else ()
    if not origin:
        origin = tuple(
            LineageNode(label=f"video {video['video_id'][:16]} ({video['uri']}), by run {video['run_id']}")
            for video in lake.rows(
                "SELECT video_id, uri, run_id FROM videos WHERE video_id = $1 AND ingest_key = $2", [row["video_id"], row["ingest_key"]]
            )
        )
    uses = []
    for use in lake.rows("SELECT DISTINCT dataset_id, shard FROM shard_frames WHERE frame_id = $1 ORDER BY ALL", [frame_id]):
        dataset = _walk(lake, str(use["dataset_id"]), "input", "output", _Trail(max_children))
        uses.append(LineageNode(label=f"shard {use['shard']}", children=(dataset,)))
    return LineageNode(label=label, children=origin), LineageNode(label=label, children=tuple(uses))

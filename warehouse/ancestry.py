"""The tree behind an artifact: from a score back to the videos, and from a video forward to the models that saw it."""

from __future__ import annotations

from dataclasses import dataclass

from warehouse.lake import Lake, LakeError

__all__ = ["LineageNode", "lineage", "resolve_id"]

MAX_CHILDREN = 8
"""of one kind shown under a run; the rest is counted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageNode:
    """One line of the tree and what it came from (or what came of it)."""

    label: str
    children: tuple[LineageNode, ...] = ()


def lineage(lake: Lake, identifier: str) -> tuple[LineageNode, LineageNode]:
    """What an id was made from, and what was made from it.

    Args:
        lake: where to look.
        identifier: an artifact, run, score, frame or dataset id, a unique prefix of one (8 characters or more), or a dataset's name.

    Returns:
        The tree of origins and the tree of uses, each with the id itself as its root.

    Raises:
        LakeError: nothing, or more than one thing, has that id.
    """
    kind, found = resolve_id(lake, identifier)
    if kind == "frame":
        return _frame_lineage(lake, found)
    if kind == "run":
        label = _run_label(lake, found)
        return (
            LineageNode(label=label, children=_of_run(lake, found, "input", "output", {found})),
            LineageNode(label=label, children=_of_run(lake, found, "output", "input", {found})),
        )
    return _walk(lake, found, "output", "input", set()), _walk(lake, found, "input", "output", set())


def resolve_id(lake: Lake, identifier: str) -> tuple[str, str]:
    """The kind and the full id that `identifier` (an id, a unique prefix of one, or a dataset's name) stands for."""
    named = lake.rows("SELECT DISTINCT dataset_id FROM datasets WHERE name = $1", [identifier])
    if len(named) == 1:
        return "dataset", str(named[0]["dataset_id"])
    found = lake.rows(
        """SELECT DISTINCT kind, artifact_id AS id FROM artifacts WHERE starts_with(artifact_id, $1)
           UNION SELECT 'run', run_id FROM runs WHERE starts_with(run_id, $1) AND status = 'complete'
           UNION SELECT 'frame', frame_id FROM frames WHERE starts_with(frame_id, $1)
           LIMIT 10""",
        [identifier],
    )
    exact = [row for row in found if row["id"] == identifier]
    found = exact or found
    if len(identifier) < 8 and not exact:
        raise LakeError(f"{identifier!r} is too short for an id prefix; give at least 8 characters")
    if not found:
        raise LakeError(f"nothing in {lake.root} has the id {identifier!r}; `endoforge sql` on artifacts, runs, scores or frames lists ids")
    if len(found) > 1:
        raise LakeError(f"{identifier!r} is the start of several ids, such as {found[0]['id']} and {found[1]['id']}; give more of it")
    return str(found[0]["kind"]), str(found[0]["id"])


def _walk(lake: Lake, artifact_id: str, near: str, far: str, seen: set[str]) -> LineageNode:
    """One artifact and, through the runs it is at the `near` end of, everything at their `far` end."""
    row = lake.rows("SELECT kind, uri, num_rows FROM artifacts WHERE artifact_id = $1 LIMIT 1", [artifact_id])[0]
    rows = f", {row['num_rows']} rows" if row["num_rows"] is not None else ""
    label = f"{row['kind']} {artifact_id[:16]} ({row['uri']}{rows})"
    if row["kind"] == "frame_pack" and near == "output":  # its run made many packs: the packs table knows the one video
        return LineageNode(label=label, children=_video_of_pack(lake, artifact_id))
    if row["kind"] == "embedding_part" and near == "output":
        return LineageNode(label=label, children=_pack_of_part(lake, artifact_id, seen))
    runs = lake.rows(
        """SELECT DISTINCT e.run_id FROM edges e JOIN runs r ON r.run_id = e.run_id AND r.status = 'complete'
           WHERE e.artifact_id = $1 AND e.direction = $2""",
        [artifact_id, near],
    )
    children = []
    for run in sorted(str(item["run_id"]) for item in runs):
        if run in seen:
            children.append(LineageNode(label=f"run {run} (shown above)"))
            continue
        seen.add(run)
        children.append(LineageNode(label=_run_label(lake, run), children=_of_run(lake, run, far, near, seen)))
    return LineageNode(label=label, children=tuple(children))


def _of_run(lake: Lake, run_id: str, far: str, near: str, seen: set[str]) -> tuple[LineageNode, ...]:
    counted = lake.rows(
        """SELECT a.kind, count(DISTINCT a.artifact_id) AS num, list(DISTINCT a.artifact_id ORDER BY a.artifact_id)[1:$3] AS ids
           FROM edges e JOIN artifacts a USING (artifact_id) WHERE e.run_id = $1 AND e.direction = $2 GROUP BY a.kind ORDER BY a.kind""",
        [run_id, far, MAX_CHILDREN],
    )
    nodes: list[LineageNode] = []
    for group in counted:
        nodes += [_walk(lake, str(item), near, far, seen) for item in group["ids"]]
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


def _pack_of_part(lake: Lake, part_id: str, seen: set[str]) -> tuple[LineageNode, ...]:
    rows = lake.rows("SELECT DISTINCT pack_id FROM embeddings WHERE part_id = $1", [part_id])
    return tuple(_walk(lake, str(row["pack_id"]), "output", "input", seen) for row in rows)


def _frame_lineage(lake: Lake, frame_id: str) -> tuple[LineageNode, LineageNode]:
    row = lake.rows("SELECT * FROM frames WHERE frame_id = $1 LIMIT 1", [frame_id])[0]
    fate = "kept" if row["keep"] else f"dropped: {row['drop_reason']}"
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
        dataset = _walk(lake, str(use["dataset_id"]), "input", "output", set())
        uses.append(LineageNode(label=f"shard {use['shard']}", children=(dataset,)))
    return LineageNode(label=label, children=origin), LineageNode(label=label, children=tuple(uses))

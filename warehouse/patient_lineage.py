"""What has become of a patient's videos: the datasets that hold them, the models that learned from these, and the models' scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from warehouse.ancestry import MAX_CHILDREN, LineageNode
from warehouse.lake import Lake, LakeError

__all__ = ["patient_lineage"]

_Rows = list[dict[str, Any]]


def patient_lineage(lake: Lake, patient_ids: Sequence[str], *, max_children: int = MAX_CHILDREN) -> LineageNode:
    """The tree from a patient to videos, and to datasets, models and scores; the views patient_* have all of it as tables.

    Args:
        lake: where to look.
        patient_ids: the patient's pseudonyms.
        max_children: things of one kind shown under another; the rest is counted.

    Raises:
        LakeError: no video of the lake is of that patient.
    """
    wanted = [list(patient_ids)]
    videos = lake.rows(
        """SELECT DISTINCT video_id, ingested_as FROM patient_videos
           WHERE list_contains($1, patient_id) AND video_id IS NOT NULL ORDER BY ALL""",
        wanted,
    )
    if not videos:
        raise LakeError(f"no video of {lake.root} is of patient {', '.join(patient_ids)}; `FROM patient_videos` lists whom it knows")
    datasets = lake.rows(
        """SELECT dataset, dataset_id, any_value(is_withdrawn) AS is_withdrawn, sum(num_videos)::BIGINT AS num_videos,
                  sum(num_frames)::BIGINT AS num_frames
           FROM patient_datasets WHERE list_contains($1, patient_id) GROUP BY ALL ORDER BY dataset""",
        wanted,
    )
    models = lake.rows(
        """SELECT DISTINCT dataset, dataset_id, run_id, checkpoint_id, step, is_best, num_scores FROM patient_models
           WHERE list_contains($1, patient_id) ORDER BY run_id, step""",
        wanted,
    )
    scores = lake.rows(
        """SELECT DISTINCT checkpoint_id, task, head, metric, value FROM patient_scores WHERE list_contains($1, patient_id)
           ORDER BY task, head, metric""",
        wanted,
    )

    def score(row: dict[str, Any]) -> LineageNode:
        return LineageNode(label=f"score {row['task']}, {row['head']}, {row['metric']}: {row['value']:.3f}")

    def checkpoint(row: dict[str, Any]) -> LineageNode:
        chosen = ", the run's best" if row["is_best"] else ""
        label = f"checkpoint {row['checkpoint_id'][:16]} (run {row['run_id']}, step {row['step']}{chosen})"
        return LineageNode(label=label, children=_some(_of(scores, row, "checkpoint_id"), score, "scores", max_children))

    def dataset(row: dict[str, Any]) -> LineageNode:
        gone = ", withdrawn" if row["is_withdrawn"] else ""
        label = f"dataset {row['dataset']} ({row['num_frames']} frames or clips of {row['num_videos']} of the videos{gone})"
        return LineageNode(label=label, children=_some(_of(models, row, "dataset", "dataset_id"), checkpoint, "checkpoints", max_children))

    def video(row: dict[str, Any]) -> LineageNode:
        return LineageNode(label=f"video {row['video_id'][:16]} ({row['ingested_as'] or 'not ingested'})")

    return LineageNode(
        label=f"patient {', '.join(patient_ids)} ({len(videos)} videos)",
        children=(*_some(videos, video, "videos", max_children), *_some(datasets, dataset, "datasets", max_children)),
    )


def _of(rows: _Rows, one: dict[str, Any], *columns: str) -> _Rows:
    return [row for row in rows if all(row[column] == one[column] for column in columns)]


def _some(rows: _Rows, make: Callable[[dict[str, Any]], LineageNode], what: str, limit: int) -> tuple[LineageNode, ...]:
    more = len(rows) - limit
    return (*map(make, rows[:limit]), *([LineageNode(label=f"... and {more} more {what}")] if more > 0 else ()))

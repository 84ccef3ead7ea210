"""What a run that ends has made, for the person at the terminal: counts, names of rejected files, the dataset and the chosen checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warehouse.lake import Lake

__all__ = ["RunEnd", "run_end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """The facts."""

    num_sampled: int
    num_kept: int
    dropped: tuple[tuple[str, int], ...]
    """current frames by drop reason, the most frequent first"""
    num_boxed: int
    """kept frames with something blacked out"""
    rejects: tuple[tuple[str, str], ...]
    """URI and reason of each rejected file"""
    dataset: str
    num_held_out: int
    """frames left out of the dataset because they are held out"""
    num_images: int
    num_shards: int
    dataset_path: str
    """below the lake's root"""
    checkpoint_id: str
    checkpoint_path: str
    """below the lake's root"""
    step: int
    num_steps: int
    batch_size: int
    validation_metric: str
    validation_score: float


def run_end(lake: Lake, run_id: str) -> RunEnd | None:
    """Ask about a finished pretraining run; None if the lake has no chosen checkpoint of it, or no dataset."""
    found = lake.rows(
        """SELECT d.name AS dataset, d.num_images, d.num_shards, d.path AS dataset_path, c.checkpoint_id, c.path AS checkpoint_path, c.step,
                  (r.config ->> '$.train.num_steps')::BIGINT AS num_steps, (r.config ->> '$.train.batch_size')::BIGINT AS batch_size,
                  c.validation_metric, c.validation_score
           FROM runs r JOIN checkpoints c ON c.run_id = r.run_id AND c.is_best
           JOIN edges e ON e.run_id = r.run_id AND e.direction = 'input' JOIN datasets d ON d.dataset_id = e.artifact_id
           WHERE r.run_id = $1 AND r.status = 'complete' ORDER BY d.name LIMIT 1""",
        [run_id],
    )
    if not found:
        return None
    funnel: list[dict[str, Any]] = lake.rows("SELECT step, reason, num_frames FROM funnel ORDER BY position, num_frames DESC, reason")
    counts = {row["step"]: row["num_frames"] for row in funnel if row["reason"] is None}
    (boxed,) = lake.rows("SELECT count(*) FILTER (text_share > 0) AS num FROM current_frames WHERE keep")
    rejects = lake.rows("SELECT DISTINCT uri, reason FROM rejects ORDER BY reason, uri")
    (held,) = lake.rows(
        "SELECT coalesce(sum(num_frames), 0)::BIGINT AS num FROM dataset_funnel WHERE name = $1 AND step = 'held out'",
        [found[0]["dataset"]],
    )
    return RunEnd(
        num_held_out=held["num"],
        num_sampled=counts.get("sampled", 0),
        num_kept=counts.get("kept", 0),
        dropped=tuple((row["reason"], row["num_frames"]) for row in funnel if row["step"] == "dropped"),
        num_boxed=boxed["num"],
        rejects=tuple((row["uri"], row["reason"]) for row in rejects),
        **found[0],
    )

"""What a model card says of a checkpoint, as plain values out of SQL: free of paths, file names, hosts and persons."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from warehouse.dataset_audit import DatasetAudit, dataset_audit
from warehouse.forgotten import read_records
from warehouse.lake import Lake, LakeError
from warehouse.records import Checkpoint, Score
from warehouse.schema import TABLES

__all__ = ["HeldOut", "ModelData", "ModelFacts", "ModelTraining", "find_checkpoint", "model_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The search of the training frames for what must not be learned from."""

    run_id: str
    num_pictures: int
    """held-out pictures that frames were compared with"""
    num_copies: int
    """frames that show one of them"""
    num_excluded: int
    """frames left out, with those of the same video or patient"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelData:
    """The dataset that a model learned from."""

    dataset_id: str
    name: str
    num_images: int
    num_videos: int
    """0 if the lake does not know the frames"""
    num_patients: int
    """of those that are known"""
    duration_s: float
    """of these videos together"""
    funnel: tuple[tuple[str, int], ...]
    """step and frames, from held-out frames to the shards"""
    held_out: HeldOut | None
    """None if the frames were compared with nothing"""
    audit: DatasetAudit
    withdrawn_on: str = ""
    """date on which part of it was forgotten; empty if nothing was"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTraining:
    """The run that a checkpoint comes from."""

    run_id: str
    config: dict[str, Any]
    """settings, as the run has recorded them"""
    code_version: str
    ended_at: str
    seed: int | None
    num_workers: int | None
    """training processes of the last start; None if an earlier version ran it"""
    num_gpus: int | None
    trained_s: float | None
    """time in steps up to this checkpoint, from the logged throughput; validation and lost steps do not count"""
    energy_gpu_j: float | None
    """of all GPUs of the machine, measured by their counters; None if they have none that could be read"""
    energy_cpu_j: float | None
    """of its processors"""
    energy_from_step: int
    """step at which the measurement began"""
    started_from: tuple[str, ...]
    """ids of checkpoints that were inputs of the run"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Everything that the lake knows of a checkpoint."""

    checkpoint_id: str
    checkpoint: Checkpoint | None
    """None if no finished run of this lake made it"""
    training: ModelTraining | None
    data: ModelData | None
    scores: tuple[Score, ...] = field(default=())
    """of this checkpoint, and of the baselines that were scored beside it"""


def find_checkpoint(lake: Lake, identifier: str) -> Checkpoint:
    """The checkpoint that an id names: a run's chosen one, or one by its own id; a unique start of either does.

    Raises:
        LakeError: no finished run and no checkpoint has that id, or several have.
    """
    rows = lake.look_up("SELECT * FROM checkpoints WHERE run_id = $1 AND is_best", identifier)
    if not rows and len(identifier) > len("pretrain-"):
        rows = lake.look_up("SELECT * FROM checkpoints WHERE starts_with(run_id, $1) AND is_best", identifier)
    if not rows and len(identifier) >= 8:
        rows = lake.look_up("SELECT * FROM checkpoints WHERE starts_with(checkpoint_id, $1) ORDER BY step, run_id", identifier)
    if len({row["checkpoint_id"] for row in rows}) > 1:
        raise LakeError(f"{identifier!r} is the start of several checkpoints; give more of the id")
    if not rows:
        known = [str(row["run_id"]) for row in lake.rows("SELECT DISTINCT run_id FROM checkpoints ORDER BY run_id")]
        raise LakeError(
            f"{identifier!r} is no finished pretraining run, checkpoint id or exported folder; runs of {lake.root} with checkpoints: "
            f"{', '.join(known) or 'none yet'}"
        )
    return Checkpoint(**rows[0])


def model_facts(lake: Lake, checkpoint_id: str) -> ModelFacts:
    """Gather what is known of the checkpoint with these weights; little, if another lake made it."""
    rows = lake.rows("SELECT * FROM checkpoints WHERE checkpoint_id = $1 ORDER BY step = 0, run_id LIMIT 1", [checkpoint_id])
    scores = _scores(lake, checkpoint_id)
    if not rows:
        return ModelFacts(checkpoint_id=checkpoint_id, checkpoint=None, training=None, data=None, scores=scores)
    checkpoint = Checkpoint(**rows[0])
    return ModelFacts(
        checkpoint_id=checkpoint_id,
        checkpoint=checkpoint,
        training=_training(lake, checkpoint),
        data=_data(lake, checkpoint.run_id),
        scores=scores,
    )


def _training(lake: Lake, checkpoint: Checkpoint) -> ModelTraining:
    (run,) = lake.rows(
        """SELECT config, code_version, strftime(ended_at, '%Y-%m-%d') AS ended_at, seed, metrics FROM runs
           WHERE run_id = $1 AND status = 'complete' LIMIT 1""",
        [checkpoint.run_id],
    )
    config, metrics = json.loads(run["config"]), json.loads(run["metrics"])
    started = lake.rows(
        """SELECT a.artifact_id FROM edges e JOIN artifacts a USING (artifact_id)
           WHERE e.run_id = $1 AND e.direction = 'input' AND a.kind IN ('checkpoint', 'weights') ORDER BY ALL""",
        [checkpoint.run_id],
    )
    return ModelTraining(
        run_id=checkpoint.run_id,
        config=config,
        code_version=run["code_version"],
        ended_at=run["ended_at"],
        seed=run["seed"],
        num_workers=metrics.get("num_workers"),
        num_gpus=metrics.get("num_gpus"),
        trained_s=_trained_s(lake, checkpoint, config["train"]["batch_size"]),
        energy_gpu_j=metrics.get("energy_gpu_j"),
        energy_cpu_j=metrics.get("energy_cpu_j"),
        energy_from_step=int(metrics.get("energy_from_step", 0)),
        started_from=tuple(row["artifact_id"] for row in started),
    )


def _trained_s(lake: Lake, checkpoint: Checkpoint, batch_size: int) -> float | None:
    """Images of each logged interval by its images per second, up to the checkpoint."""
    (row,) = lake.rows(
        """WITH speed AS (
               SELECT step, value, step - coalesce(lag(step) OVER (ORDER BY step), 0) AS num_steps FROM train_metrics
               WHERE run_id = $1 AND name = 'speed/images_per_s' AND step <= $2 AND value > 0)
           SELECT sum(num_steps * $3::DOUBLE / value) AS seconds FROM speed""",
        [checkpoint.run_id, checkpoint.step, batch_size],
    )
    return None if row["seconds"] is None else float(row["seconds"])


def _data(lake: Lake, run_id: str) -> ModelData | None:
    found = lake.rows(
        """SELECT d.dataset_id, d.name, d.num_images FROM edges e JOIN datasets d ON d.dataset_id = e.artifact_id
           WHERE e.run_id = $1 AND e.direction = 'input' ORDER BY d.name LIMIT 1""",
        [run_id],
    )
    if not found:
        return None
    dataset_id = found[0]["dataset_id"]
    (videos,) = lake.rows(
        """WITH used AS (
               SELECT DISTINCT f.video_id, f.ingest_key
               FROM (SELECT DISTINCT frame_id FROM dataset_frames WHERE dataset_id = $1) JOIN frames f USING (frame_id))
           SELECT (SELECT count(DISTINCT video_id) FROM used) AS num_videos,
                  (SELECT count(DISTINCT one) FROM (
                      SELECT unnest(patient_ids) AS one FROM video_info WHERE video_id IN (SELECT video_id FROM used))) AS num_patients,
                  (SELECT coalesce(sum(duration_s), 0)::DOUBLE FROM (
                      SELECT DISTINCT video_id, duration_s FROM videos v SEMI JOIN used USING (video_id, ingest_key))) AS duration_s""",
        [dataset_id],
    )
    funnel = lake.rows(
        "SELECT DISTINCT position, step, num_frames FROM dataset_funnel WHERE dataset_id = $1 AND name = $2 ORDER BY position",
        [dataset_id, found[0]["name"]],
    )
    return ModelData(
        **found[0],
        **videos,
        funnel=tuple((row["step"], row["num_frames"]) for row in funnel),
        held_out=_held_out(lake, dataset_id),
        audit=dataset_audit(lake, dataset_id),
        withdrawn_on=next((one.recorded_at[:10] for one in read_records(lake.root) if dataset_id in one.datasets), ""),
    )


def _held_out(lake: Lake, dataset_id: str) -> HeldOut | None:
    """The last search whose finds the dataset's deduplication left out."""
    rows = lake.rows(
        """SELECT r.run_id, r.metrics FROM datasets d
           JOIN edges o ON o.artifact_id = d.dedup_id AND o.direction = 'output'
           JOIN edges i ON i.run_id = o.run_id AND i.direction = 'input'
           JOIN artifacts a ON a.artifact_id = i.artifact_id AND a.kind = 'holdout'
           JOIN edges h ON h.artifact_id = a.artifact_id AND h.direction = 'output'
           JOIN runs r ON r.run_id = h.run_id AND r.status = 'complete'
           WHERE d.dataset_id = $1 ORDER BY r.ended_at DESC LIMIT 1""",
        [dataset_id],
    )
    if not rows:
        return None
    told = json.loads(rows[0]["metrics"])
    return HeldOut(
        run_id=rows[0]["run_id"],
        num_pictures=int(told.get("num_held_out_pictures", 0)),
        num_copies=int(told.get("num_copies", 0)),
        num_excluded=int(told.get("num_excluded", 0)),
    )


def _scores(lake: Lake, checkpoint_id: str) -> tuple[Score, ...]:
    columns = ", ".join(f"s.{name}" for name in TABLES["scores"].names if name not in ("run_id", "details"))
    rows = lake.rows(
        f"""SELECT DISTINCT {columns}, s.details FROM scores s JOIN edges e ON e.run_id = s.run_id AND e.direction = 'input'
            WHERE e.artifact_id = $1 AND (s.details ->> 'shots') IS NULL
            ORDER BY s.task, s.data_id, s.head, s.metric, s.value DESC, s.model""",
        [checkpoint_id],
    )
    return tuple(Score(**{**row, "details": json.loads(row["details"])}) for row in rows)

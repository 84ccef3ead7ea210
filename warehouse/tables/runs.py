"""Tables of training and evaluation, and the lineage: which run made what of what."""

from __future__ import annotations

from warehouse.tables.notation import Table, boolean, float64, int32, int64, text, time

__all__ = ["LAKE_SCHEMA", "RUN_TABLES"]

LAKE_SCHEMA = Table(
    "Version of these tables and views, one row",
    {"version": int32("an EndoForge opens only lakes of the version that it makes")},
)

_STEP = int64("optimiser steps done")

RUN_TABLES: dict[str, Table] = {
    "checkpoints": Table(
        "Checkpoints of finished pretraining runs that were not deleted for better or later ones",
        {
            "checkpoint_id": text("SHA-256 of the exported backbone's weights"),
            "run_id": text("pretrain run"),
            "step": _STEP,
            "path": text("folder of the exported backbone below the lake's root, which timm loads as a local-dir"),
            "validation_metric": text("what checkpoints are chosen by, such as landmarks/val/knn_balanced_accuracy"),
            "validation_score": float64("its value; higher is better"),
            "is_best": boolean("whether it has the run's highest score; of equals the earliest"),
        },
    ),
    "train_metrics": Table(
        "What finished pretraining runs logged; values that are not finite are left out",
        {
            "run_id": text("pretrain run"),
            "step": _STEP,
            "name": text("such as loss/total, speed/images_per_s, or validation/ and the validation metric"),
            "value": float64("value at that step"),
        },
    ),
    "scores": Table(
        "Scores of models on evaluation tasks, one for each head and metric",
        {
            "score_id": text("SHA-256 over model, task, data, head, metric, seed and details"),
            "run_id": text("evaluate run"),
            "model_id": text("checkpoint_id; of a baseline its encoder_id, of random weights a hash"),
            "model": text("what a person calls it: run and step or folder, random weights, or the encoder's name"),
            "task": text("name of the evaluation task"),
            "data_id": text("SHA-256 over the evaluation data: images, masks, labels, crops, splits and groups"),
            "split": text("split that is scored, always test; what is chosen is chosen on val"),
            "head": text("knn, linear or linear_segmentation"),
            "metric": text("accuracy, balanced_accuracy, macro_f1, quadratic_weighted_kappa, dice or iou"),
            "value": float64("value of the metric; not a number if undefined"),
            "ci_low": float64("lower end of the 95% bootstrap interval over groups; not a number if there is one group"),
            "ci_high": float64("upper end of that interval"),
            "num_items": int64("images or crops scored"),
            "num_groups": int64("groups of them, usually patients; each image is one if the data names none"),
            "seed": int64("of the evaluation: bootstrap, random weights, splits made by chance"),
            "details": text("JSON: what was chosen on val, image size, protocol, and warnings about the data"),
        },
    ),
    "runs": Table(
        "Every run of a stage, complete or failed, with its settings, code and machine",
        {
            "run_id": text("stage and 16 digits of stage_key; all attempts at the same work have the same"),
            "attempt_id": text("random id of this attempt"),
            "stage": text("name of the stage, such as ingest, embed, dedup, shard or pretrain"),
            "stage_key": text("SHA-256 over stage, version, settings and input ids: what is complete is not computed again"),
            "status": text("complete or failed"),
            "error": text("exception that ended it; null if complete"),
            "started_at": time("when the attempt began"),
            "ended_at": time("when it ended"),
            "stage_version": int32("version of the stage, raised if the same settings give another result"),
            "code_version": text("commit of the checkout, else the installed version"),
            "code_dirty_sha256": text("SHA-256 of the uncommitted changes; null for a clean checkout and an installed copy"),
            "lock_sha256": text("SHA-256 of requirements.lock; null if there is none"),
            "config": text("JSON: the resolved settings that the result depends on"),
            "seed": int64("of its random draws; null if it has none"),
            "metrics": text("JSON: numbers that the stage reports, such as num_frames"),
            "peak_memory_bytes": int64(
                "most resident memory in bytes of the run's processes together; null under Ray, whose workers are not watched"
            ),
            "host": text("network name of the machine that started it"),
            "runner": text("serial, processes or ray"),
            "prefect_flow_run_id": text("Prefect's id of the flow run; null without a flow"),
            "ray_job_id": text("Ray's id of the job; null without Ray"),
        },
    ),
    "artifacts": Table(
        "Things that complete runs read or made, each once, for the lineage",
        {
            "artifact_id": text("SHA-256 of its content, or a hash of what names it"),
            "kind": text(
                "video, frame_pack, embedding_part, dedup, cluster_tree, selection, dataset, checkpoint, task, score, report and others"
            ),
            "uri": text("path below the lake's root, or the URI of what lies outside; of a task, a score or a hold-out list its name"),
            "sha256": text("SHA-256 that it can be checked by; null if it has none"),
            "num_bytes": int64("size in bytes; null if not recorded"),
            "num_rows": int64("rows, frames, images or items in it; null if it has none"),
        },
    ),
    "edges": Table(
        "Which complete run read or made which artifact",
        {
            "run_id": text("run"),
            "artifact_id": text("artifact, a row of artifacts"),
            "direction": text("input or output"),
        },
    ),
}

"""What the columns of views hold: DuckLake 1.5.5 keeps comments on views, but refuses those on their columns, so they stand here.

A column that a view passes on unchanged is described by its table; a view names the tables that it takes columns from, the first that has
one of that name counts. Everything else is said here, as `warehouse/tables/notation.py` asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["VIEW_COLUMNS", "ViewColumns"]


@dataclass(frozen=True, slots=True)
class ViewColumns:
    """Where the descriptions of a view's columns come from."""

    tables: tuple[str, ...] = ()
    """whose columns of the same name are passed on"""
    own: Mapping[str, str] = field(default_factory=dict)
    """what the others hold, by name; these count first"""


_DATASET = "name of the dataset"
_INGESTED = {"ingested_at": "when the ingest run that made the row ended"}
_VERDICT = {
    "keep": "whether it is kept now, as refiltering and audits have decided since ingest",
    "drop_reason": "first reason for which it is left out now, such as blurred or identified_in_audit; null for a kept frame",
}
_BOUND = "upper end of the 95% interval of the share of kept frames that identify someone, 0-1; null while open"
_USER = "account that typed the command; null of what was recorded before that was kept"
_SHARE_OF_SAMPLED = "num_frames as a share, 0-1, of all sampled frames"

VIEW_COLUMNS: dict[str, ViewColumns] = {
    "places": ViewColumns(("videos",), {"uris": "places, file:// or a store's URI, the one seen first at the front"}),
    "latest_videos": ViewColumns(("videos",), _INGESTED),
    "current_videos": ViewColumns(("videos",), _INGESTED | {"num_frames_kept": "frames kept now, as refiltering and audits have decided"}),
    "statements": ViewColumns(
        ("manifest_videos",),
        {"is_header": "whether the file's header says it, not a manifest", "ended_at": "when the run that recorded it ended"},
    ),
    "video_info": ViewColumns(
        ("manifest_videos",),
        {
            "patient_ids": "all patients that manifests name for the content, or else its headers; empty if none",
            "study_ids": "all studies that are named for it; empty if none",
            "sites": "all sites that are named for it; empty if none",
        },
    ),
    "patient_videos": ViewColumns(
        ("manifest_videos",),
        {
            "is_from_manifest": "whether a manifest says it, not the file's header",
            "is_ingested": "whether the content is ingested, from this place or from another",
            "ingested_as": "place under which the content counts; null if it is not ingested",
            "reject_reason": "why this place was rejected, as rejects.reason; null if it was not",
        },
    ),
    "latest_requalification": ViewColumns(("requalified",)),
    "removed_frames": ViewColumns(("removals",)),
    "replaced_frames": ViewColumns(("private_decisions",)),
    "current_frames": ViewColumns(("frames",), _VERDICT),
    "candidates": ViewColumns(("frames",), {"pack_path": "the pack, below the lake's root"}),
    "current_clips": ViewColumns(
        ("clips", "clip_videos"),
        {
            "keep": "whether it is kept now: neither refused when it was cut, nor with a removed frame in it",
            "drop_reason": "why it is left out, such as too_short, out_of_body or identified_in_audit; null for a kept clip",
            "pack_path": "the tar with the MP4, below the lake's root",
        },
    ),
    "clip_frames": ViewColumns(("clips", "frames")),
    "dataset_frames": ViewColumns(("shard_frames",)),
    "clips_per_video": ViewColumns(
        ("videos", "clip_videos"),
        {
            "num_clips": "clips cut of the video, kept or refused",
            "num_kept": "clips kept now",
            "num_refused": "clips left out now",
            "seconds_kept": "seconds of the kept clips together",
            "num_clips_in_datasets": "uses of its clips in datasets; a clip of two datasets counts twice",
        },
    ),
    "clip_funnel": ViewColumns(
        ("clip_videos",),
        {
            "position": "order of the steps, 1 first",
            "step": "cut, refused or kept",
            "reason": "why they were refused; null for the other steps",
            "num_clips": "clips of that step and reason",
            "seconds": "seconds of these clips together",
        },
    ),
    "flagged_videos": ViewColumns(
        ("videos",),
        {
            "flag": "text, or out of body",
            "share": "mean share, 0-1, of the picture under boxes over text, or share of the samples that are out of body",
            "num_frames": "pictures withheld for that reason",
            "num_waiting": "those that no person has decided about",
            "is_audited": "whether a person has decided about all of them",
        },
    ),
    "audit_status": ViewColumns(
        ("audits",),
        {
            "status": "open, or after a sign-off clean or findings, all sign-offs added up",
            "reviewer": "names of all who signed, in order; null while open",
            "note": "what they wrote, joined by semicolons; null if nothing",
            "num_random": "frames of the random part of the sample, which alone the bound stands on",
            "num_findings": "frames that any of them found to identify someone; null while open",
            "run_id": "privacy_audit or sign_off run of the latest state",
            "recorded_at": "when the latest state was recorded",
            "drawn_at": "when the sample was drawn",
            "upper_bound_95": _BOUND,
            "num_sign_offs": "times it was signed",
        },
    ),
    "dataset_audits": ViewColumns(
        ("datasets", "audits"),
        {
            "dataset": _DATASET,
            "status": "findings if it holds removed frames, removed if found frames are not in it, clean, open, or not audited",
            "num_removed": "frames in it that an audit or the classifier has removed since",
            "audit_id": "audit that counts for it, a row of audit_status; null if there is none",
            "is_of_candidates": "whether that audit sampled all candidates, not this dataset",
            "reviewer": "names of all who signed that audit; null while open",
            "num_frames": "frames on that audit's page; null without an audit",
            "num_findings": "frames found in that audit to identify someone; null while open",
            "upper_bound_95": _BOUND,
        },
    ),
    "funnel": ViewColumns(
        (),
        {
            "position": "order of the steps, 1 first",
            "step": "sampled, dropped or kept",
            "reason": "why they were dropped, as current_frames.drop_reason; null for the other steps",
            "num_frames": "current frames of that step and reason",
            "share": _SHARE_OF_SAMPLED,
        },
    ),
    "per_mode": ViewColumns(
        (),
        {
            "imaging_mode": "as frames.imaging_mode; unknown where that is null",
            "num_frames": "current frames of that mode, kept or dropped",
            "num_kept": "those kept now",
            "num_out_of_body": "those dropped as out of body",
        },
    ),
    "dataset_funnel": ViewColumns(
        ("datasets",),
        {
            "position": "order of the steps, 0 first",
            "step": "held out, candidates, without copies, without look-alikes, unique, selected or in shards",
            "num_frames": "frames, or clips, that the step left; held out counts what it took",
        },
    ),
    "holdout_matches": ViewColumns(
        ("holdout",),
        {
            "video": "a place where the frame's video was seen last",
            "second": "presentation time in seconds since the video's first frame, to a tenth",
            "match": "as holdout.match_kind",
        },
    ),
    "per_video": ViewColumns(
        ("videos",),
        {
            "num_frames_kept": "frames kept now, as refiltering and audits have decided",
            "kept_share": "num_frames_kept as a share, 0-1, of num_frames_sampled",
            "num_frames_in_datasets": "uses of its kept frames in datasets; a frame of two datasets counts twice",
        },
    ),
    "per_cluster": ViewColumns(
        ("clusters",),
        {
            "dataset": _DATASET,
            "num_frames": "unique frames of the cluster that could be chosen",
            "num_selected": "those of them that were selected",
        },
    ),
    "dataset_mix": ViewColumns(
        ("videos",),
        {
            "dataset": _DATASET,
            "num_frames": "frames, or clips, of the video in the dataset",
            "share": "num_frames as a share, 0-1, of the dataset's images",
        },
    ),
    "leaderboard": ViewColumns(
        ("scores",),
        {
            "leak": "whether the task's splits share images or patients: clean, overlap and a number of test images, or unknown",
            "patients": "whether the data name patients, videos or sequences: known, unknown, or unknown for so many of all",
            "leak_pretraining": "the same of the test images and what the model was pretrained on",
            "image_size": "side in pixels of the network's input",
            "protocol": "how the data were divided: clean, published, made or a name",
            "division": "which published division it is, if any",
            "fold": "tested fold, 0 first; null if the task has none",
            "settings": "settings of the head and of reading the images, as text",
            "interval_method": "how the interval was made, such as a bootstrap over patients",
        },
    ),
    "run_counts": ViewColumns(
        ("runs",), {"num_runs": "runs of that stage and status", "last": "when the last of them ended; null if none has"}
    ),
    "run_times": ViewColumns(("runs",), {"duration_s": "seconds from start to end; null if it has not ended"}),
    "patient_datasets": ViewColumns(
        ("datasets", "manifest_videos"),
        {
            "dataset": _DATASET,
            "num_videos": "videos of the patient in it",
            "num_frames": "frames, or clips, of the patient in it",
            "is_withdrawn": "whether its shards are gone, because something in it was forgotten",
        },
    ),
    "patient_models": ViewColumns(
        ("checkpoints", "datasets", "manifest_videos"),
        {"dataset": f"{_DATASET} that the model, or one it started from, has learned from", "num_scores": "scores of the checkpoint"},
    ),
    "patient_scores": ViewColumns(
        ("scores", "checkpoints", "manifest_videos"), {"dataset": f"{_DATASET} that holds the patient", "run_id": "pretrain run"}
    ),
    "exports": ViewColumns(
        ("runs",),
        {
            "exported_at": "when it was written",
            "user": _USER,
            "what": "name of the dataset, or id of the checkpoint",
            "path": "folder that was written",
        },
    ),
    "sign_offs": ViewColumns(
        ("audits", "runs"),
        {
            "signed_at": "when it was signed",
            "frames": "kept, or private: which pictures the audit shows",
            "status": "of this sign-off: clean or findings, or signed of private pictures",
            "num_findings": "frames that this person found to identify someone; null of private pictures",
            "user": _USER,
            "run_id": "sign_off or private_sign_off run",
        },
    ),
    "models": ViewColumns(
        ("checkpoints", "runs", "datasets"),
        {
            "run_id": "pretrain run",
            "checkpoint_id": "the chosen checkpoint, as checkpoints.checkpoint_id",
            "datasets": "names of the datasets that it was trained on; null if the lake no longer has them",
            "num_images": "images, or clips, in the dataset",
            "architecture": "name of the network, as timm has it or endofm",
            "num_steps": "optimiser steps of the whole run",
            "batch_size": "images a step, of all workers together",
            "num_scores": "test scores of the chosen checkpoint, the latest of each task, head and metric; few-shot curves left out",
            "scores": "task, head, metric and value of each of them; null without one",
            "ended_at": "when the run ended",
            "duration_s": "seconds from start to end of its last attempt",
        },
    ),
    "nights": ViewColumns(
        (),
        {
            "night": "date on whose noon (UTC) the night began",
            "num_runs": "runs of stages that started in it",
            "num_failed": "those that failed",
            "stages": "names of the stages that ran",
            "duration_s": "seconds of all these runs together",
            "num_videos": "videos ingested",
            "video_hours": "hours of these videos",
            "num_frames_kept": "frames that ingest kept of them",
            "num_rejects": "files rejected",
        },
    ),
    "rejects_by_day": ViewColumns(
        ("rejects",),
        {
            "day": "date (UTC) on which the run that rejected them started",
            "num_files": "files",
            "num_bytes": "bytes of these files together",
        },
    ),
    "cost_per_video_hour": ViewColumns(
        ("runs",),
        {
            "num_runs": "complete runs of the stage",
            "duration_s": "seconds of all of them together, by the clock",
            "video_hours": "hours of the videos that the lake holds",
            "seconds_per_video_hour": "duration_s for each of these hours; null without video",
        },
    ),
    "data_dictionary": ViewColumns(
        (),
        {
            "table_name": "name of the table or view",
            "column_name": "name of the column; null for the table or view itself",
            "type": "DuckDB's type of the column, or table, or view",
            "description": "what it is or holds",
        },
    ),
}

"""The lake's tables as Arrow schemas: the one place that says what a column is called and holds.

Workers write Parquet parts with these schemas; the lake makes its tables from them. Units are in the names.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

__all__ = ["SCHEMA_VERSION", "TABLES", "embedding_schema", "table_schema"]

SCHEMA_VERSION = 7

_s, _i64, _i32, _f32, _f64, _b = pa.string(), pa.int64(), pa.int32(), pa.float32(), pa.float64(), pa.bool_()

TABLES: dict[str, pa.Schema] = {
    "videos": pa.schema(
        {
            "video_id": _s,
            "ingest_key": _s,
            "run_id": _s,
            "uri": _s,
            "num_bytes": _i64,
            "container": _s,
            "codec": _s,
            "width": _i32,
            "height": _i32,
            "sample_aspect_ratio": _f64,  # width of a pixel by its height; frames are stored with square pixels
            "fps": _f64,
            "duration_s": _f64,
            "num_frames_declared": _i64,
            "num_frames_decoded": _i64,
            "num_frames_skipped": _i64,  # left out of decoding on purpose
            "num_frames_sampled": _i64,
            "num_frames_kept": _i64,
            "num_frames_boxed": _i64,  # samples with at least one box over text
            "text_share": _f32,  # mean over the samples of the share of the stored frame that boxes over text hide
            "out_of_body_share": _f32,  # share of the samples dropped as out of body
            "content_area": _s,
            "decoder": _s,
            "decoder_version": _s,
            "status": _s,
            "warning": _s,
            "pack_id": _s,
        }
    ),
    "packs": pa.schema({"pack_id": _s, "video_id": _s, "ingest_key": _s, "path": _s, "num_bytes": _i64, "num_frames": _i64}),
    "frames": pa.schema(
        {
            "frame_id": _s,
            "video_id": _s,
            "ingest_key": _s,
            "frame_index": _i64,  # position of the sample in decoding order, 0 first
            "pts_us": _i64,  # presentation time from the start of the video stream
            "decoder": _s,
            "crop_x": _i32,  # content area's bounding box in source pixels
            "crop_y": _i32,
            "crop_width": _i32,
            "crop_height": _i32,
            "blur": _f32,  # variance of the Laplacian inside the content area; low is blurred
            "luma": _f32,  # mean luma, 0-255
            "dark_share": _f32,  # share of content pixels under-exposed
            "bright_share": _f32,  # share of content pixels over-exposed
            "specular_share": _f32,
            "bubble_share": _f32,  # share of content pixels that look like foam or bubbles
            "stool_share": _f32,  # share of content pixels with the colour and texture of stool or murky fluid
            "motion": _f32,  # mean absolute luma difference to the previous sample, 0-255
            "room_evidence": _f32,  # log-odds of a room by structure; null if nearly all is warm, or the frame too dark
            "imaging_mode": _s,  # by colour: white_light (brown narrow band too), nbi, dye, fluorescence, grey or unknown
            "out_of_body": _f32,  # 0-1: colours and structure are those of a room, or structure beyond doubt; smoothed over time
            "text_share": _f32,  # share of the stored frame's pixels painted black as text; null where it was not looked for
            "unconfirmed_share": _f32,  # the same of boxes neither proven to hold text nor proven not to
            "text_boxes": _s,  # JSON: [x, y, width, height] of each, in pixels of the stored frame
            "phash": _s,  # 64-bit perceptual hash as 16 hexadecimal digits
            "keep": _b,
            "drop_reason": _s,  # null for a kept frame
            "pack_id": _s,  # null for a frame whose pixels were not stored, and the next five
            "byte_offset": _i64,  # of the JPEG's first byte in the pack
            "byte_size": _i64,
            "width": _i32,
            "height": _i32,
            "sha256": _s,
        }
    ),
    # small pictures of some dropped frames, for a person to check the filters; frames dropped for privacy are pixelated
    "previews": pa.schema({"frame_id": _s, "ingest_key": _s, "drop_reason": _s, "jpeg": pa.binary()}),
    # frames of which a later decision by their stored scores says something else than ingest; the latest one counts (view current_frames)
    "requalified": pa.schema({"run_id": _s, "frame_id": _s, "keep": _b, "drop_reason": _s, "device": _s}),
    # frames that a person or a classifier took out for good, whatever any threshold says
    "removals": pa.schema({"run_id": _s, "frame_id": _s, "reason": _s, "source": _s}),
    # pictures that only this lake's own people may see, in packs of their own with file mode 0600: see curation/ingest/private_pack.py
    "private_frames": pa.schema(
        {
            "frame_id": _s,
            "video_id": _s,
            "ingest_key": _s,
            "path": _s,  # of the private pack below the lake's root
            "byte_offset": _i64,  # of the JPEG's first byte in the pack
            "byte_size": _i64,
            "width": _i32,
            "height": _i32,
            "sha256": _s,
            "why": _s,  # out_of_body, text or mask: what the frame was dropped for, or that a box over it was not confirmed to be text
            "unconfirmed_boxes": _s,  # JSON like frames.text_boxes: the boxes that are not painted in this picture
        }
    ),
    # what a person decided about a private picture; it is then deleted unless is_kept
    "private_decisions": pa.schema(
        {
            "run_id": _s,
            "frame_id": _s,
            "decision": _s,  # lifted, restored, released (with its mask), confirmed (stays out, or masked as it is) or purged (unseen)
            "audit_id": _s,  # null where purged
            "reviewer": _s,
            "new_frame_id": _s,  # the row of frames that stands for this one from now on; null where nothing came back
            "is_named": _b,  # by its number: thresholds do not drop it
            "is_kept": _b,  # the private picture was kept
        }
    ),
    # a person's look at private pictures, drawn in run_id; open until signed
    "private_audits": pa.schema(
        {
            "audit_id": _s,
            "run_id": _s,
            "status": _s,  # open or signed
            "reviewer": _s,
            "note": _s,
            "num_frames": _i64,
            "sheet": _s,  # path of the page below the lake's root, file mode 0600; deleted at the sign-off unless pictures are kept
            "recorded_at": pa.timestamp("us", tz="UTC"),
        }
    ),
    "private_audit_frames": pa.schema({"audit_id": _s, "frame_id": _s, "position": _i64}),
    # a person's look at a sample of the kept frames, drawn in run_id; open until signed off
    "audits": pa.schema(
        {
            "audit_id": _s,
            "run_id": _s,
            "dataset_id": _s,  # null where the sample is of all candidates
            "status": _s,  # open, clean or findings
            "reviewer": _s,
            "note": _s,
            "num_frames": _i64,
            "num_findings": _i64,
            "seed": _i64,
            "sheet": _s,  # path of the contact sheet below the lake's root
            "recorded_at": pa.timestamp("us", tz="UTC"),
        }
    ),
    "audit_frames": pa.schema({"audit_id": _s, "frame_id": _s, "position": _i64, "stratum": _s}),  # random or doubtful
    # which content was last seen where: a file whose version is unchanged is not read again (warehouse/files.py)
    "files": pa.schema(
        {
            "uri": _s,
            "version": _s,  # size and time, or a store's ETag
            "video_id": _s,  # null where the file was found to be gone
            "num_bytes": _i64,
            "seen_at": pa.timestamp("us", tz="UTC"),
        }
    ),
    # files that are neither ingested nor rejected: the next ingest that sees them takes them again (warehouse/left.py)
    "left_files": pa.schema(
        {
            "uri": _s,
            "reason": _s,  # being_written, changed, missing, no_access, unreachable, io_error, not_mounted, worker_lost or filter_failed
            "detail": _s,
            "since": pa.timestamp("us", tz="UTC"),  # when an ingest first left it for this reason
        }
    ),
    # what manifests and DICOM headers say of videos, by content and place; of several manifests the latest counts for a place (view
    # video_info)
    "manifest_videos": pa.schema(
        {
            "video_id": _s,
            "uri": _s,
            "run_id": _s,
            "manifest_sha256": _s,  # null where the video's own header says it
            "patient_id": _s,  # keyed hash of what the manifest or the header calls the patient
            "site": _s,
            "device": _s,
            "procedure": _s,
            "date": _s,
            "study_id": _s,  # keyed hash of the DICOM study's UID
        }
    ),
    "rejects": pa.schema({"uri": _s, "video_id": _s, "ingest_key": _s, "run_id": _s, "num_bytes": _i64, "reason": _s, "detail": _s}),
    # images of folders of stills that are damaged (their frames are dropped as corrupt) or cannot be read (they have no frame)
    "damaged_images": pa.schema({"video_id": _s, "ingest_key": _s, "run_id": _s, "uri": _s, "detail": _s}),
    # one row a Parquet part of vectors (embedding_schema); DuckLake 1.0 has no 16-bit float, so the vectors stay in their own files
    "embeddings": pa.schema({"part_id": _s, "pack_id": _s, "encoder_id": _s, "path": _s, "num_frames": _i64, "dim": _i32}),
    # each candidate's scores against those that rank before it, by which any threshold can be decided (curation/dedup/similarity.py)
    "similarities": pa.schema(
        {
            "similarity_id": _s,
            "frame_id": _s,
            "cluster_id": _i32,
            "rank": _i64,  # 0 is kept before all others
            "copy_of_frame_id": _s,  # the first of the same JPEG; null for that one itself. A copy has no other scores
            "look_alike_frame_id": _s,  # the closest by perceptual hash, in any video; null where none is within the search radius
            "hash_distance": _i32,  # differing bits of 64
            "nearest_frame_id": _s,  # the most similar frame of its cluster; null for the first of a cluster
            "similarity": _f32,  # cosine
        }
    ),
    # the candidates that a hold-out leaves out, one row each; the match is with one held-out picture, of several that it resembles most
    "holdout": pa.schema(
        {
            "holdout_id": _s,
            "frame_id": _s,
            "match_kind": _s,  # patient, video, perceptual or embedding
            "reference_sha256": _s,  # content of the held-out picture or video; null where a name or a patient matched
            "reference": _s,  # its name below the folder, or in the table, that was given; of a patient the hold-out's
            "via_frame_id": _s,  # the copy for which this frame of the same video or patient goes too; null for the copy itself
            "hash_distance": _i32,  # differing bits of 64
            "similarity": _f32,  # cosine of the embeddings, of the frame and the nearest view of the held-out picture
            "correlation": _f32,  # of local detail, one picture laid over the other
        }
    ),
    "dedup": pa.schema(
        {
            "dedup_id": _s,
            "frame_id": _s,
            "cluster_id": _i32,
            "kind": _s,  # what made it a duplicate: exact, perceptual or semantic; null for a unique frame
            "nearest_frame_id": _s,  # what it is a duplicate of; of a unique frame the most similar before it, null for the first
            "hash_distance": _i32,  # differing bits of 64, to the closest look-alike
            "similarity": _f32,  # cosine, to the most similar of its cluster
            "is_duplicate": _b,
        }
    ),
    "clusters": pa.schema({"tree_id": _s, "frame_id": _s, "level": _i32, "cluster_id": _i32, "distance": _f32}),
    # rank 0 first: the frames of rank below M are the balanced selection of M images
    "selections": pa.schema({"selection_id": _s, "frame_id": _s, "rank": _i64, "cluster_id": _i32}),
    "datasets": pa.schema(
        {
            "dataset_id": _s,
            "name": _s,
            "run_id": _s,
            "selection_id": _s,
            "dedup_id": _s,
            "tree_id": _s,
            "encoder_id": _s,
            "path": _s,
            "num_images": _i64,
            "num_shards": _i64,
            "seed": _i64,
        }
    ),
    "shards": pa.schema({"dataset_id": _s, "shard": _s, "path": _s, "sha256": _s, "num_bytes": _i64, "num_images": _i64}),
    "shard_frames": pa.schema({"dataset_id": _s, "shard": _s, "frame_id": _s, "position": _i64, "byte_offset": _i64, "byte_size": _i64}),
    "checkpoints": pa.schema(
        {
            "checkpoint_id": _s,
            "run_id": _s,
            "step": _i64,
            "path": _s,
            "validation_metric": _s,
            "validation_score": _f64,
            "is_best": _b,
        }
    ),
    "train_metrics": pa.schema({"run_id": _s, "step": _i64, "name": _s, "value": _f64}),
    "scores": pa.schema(
        {
            "score_id": _s,
            "run_id": _s,
            "model_id": _s,
            "model": _s,
            "task": _s,
            "data_id": _s,
            "split": _s,
            "head": _s,
            "metric": _s,
            "value": _f64,
            "ci_low": _f64,
            "ci_high": _f64,
            "num_items": _i64,
            "num_groups": _i64,
            "seed": _i64,
            "details": _s,  # JSON
        }
    ),
    "runs": pa.schema(
        {
            "run_id": _s,
            "attempt_id": _s,
            "stage": _s,
            "stage_key": _s,
            "status": _s,  # complete or failed
            "error": _s,
            "started_at": pa.timestamp("us", tz="UTC"),
            "ended_at": pa.timestamp("us", tz="UTC"),
            "stage_version": _i32,
            "code_version": _s,
            "code_dirty_sha256": _s,  # null for a clean checkout
            "lock_sha256": _s,
            "config": _s,  # JSON, fully resolved
            "seed": _i64,
            "metrics": _s,  # JSON
            # most resident memory of the run's processes together while it went on; null under Ray, whose workers are not watched
            "peak_memory_bytes": _i64,
            "host": _s,
            "runner": _s,
            "prefect_flow_run_id": _s,
            "ray_job_id": _s,
        }
    ),
    "artifacts": pa.schema({"artifact_id": _s, "kind": _s, "uri": _s, "sha256": _s, "num_bytes": _i64, "num_rows": _i64}),
    "edges": pa.schema({"run_id": _s, "artifact_id": _s, "direction": _s}),  # input or output
}


def table_schema(table: str, *, scores: Sequence[str] = ()) -> pa.Schema:
    """The columns of a table, with those of the scores that installed filters add: nullable 32-bit floats (see curation/filters)."""
    schema = TABLES[table]
    for name in scores:
        schema = schema.append(pa.field(name, _f32))
    return schema


def embedding_schema(dim: int) -> pa.Schema:
    """What an embedding part holds: L2-normalised vectors, all of one size; DuckDB reads them with read_parquet(path)."""
    return pa.schema({"frame_id": _s, "embedding": pa.list_(pa.float16(), dim)})

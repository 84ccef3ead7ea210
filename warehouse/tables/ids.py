"""Columns that mean the same in every table: the ids by which tables are joined."""

from __future__ import annotations

from warehouse.tables.notation import text

__all__ = ["CLIP_ID", "DATASET_ID", "DEDUP_ID", "ENCODER_ID", "FRAME_ID", "INGEST_KEY", "PACK_ID", "SELECTION_ID", "TREE_ID", "VIDEO_ID"]

VIDEO_ID = text("SHA-256 of the video's content; of stills, over the SHA-256 of each image in order")
INGEST_KEY = text(
    "SHA-256 over the version of ingest, its settings and installed filters: what a video's rows depend on beside its content"
)
FRAME_ID = text("frame, a row of frames; an id names one picture for good")
CLIP_ID = text("clip, a row of clips: 16 digits of video_id and 16 of a hash of its times, settings and blacked-out boxes")
PACK_ID = text("SHA-256 of the tar, a row of packs")
ENCODER_ID = text("SHA-256 over the encoder's architecture, weights and preprocessing")
DEDUP_ID = text("SHA-256 over all rows of one deduplication")
TREE_ID = text("SHA-256 of the tree's file of centroids, clusters/TREE_ID.safetensors below the lake's root")
SELECTION_ID = text("SHA-256 over all rows of one selection")
DATASET_ID = text("SHA-256 over the hashes of the dataset's tars in order")

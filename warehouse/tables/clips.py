"""Tables of clips: pieces of videos cut for video models, the videos they were cut from, and where each lies in datasets."""

from __future__ import annotations

from warehouse.tables.ids import CLIP_ID, DATASET_ID, INGEST_KEY, VIDEO_ID
from warehouse.tables.notation import Table, boolean, float32, float64, int32, int64, text

__all__ = ["CLIP_TABLES"]

_CUT_KEY = text("SHA-256 over clip_key, ingest_key and the frames' verdicts: one cutting of one video")
_CLIP_KEY = text("SHA-256 over the version and the settings of cutting; of the clips to choose from, all have the same")

CLIP_TABLES: dict[str, Table] = {
    "clip_videos": Table(
        "Videos that were looked through for clips, one row for each cutting",
        {
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "clip_key": _CLIP_KEY,
            "cut_key": _CUT_KEY,
            "run_id": text("clips run that cut them"),
            "num_clips": int64("rows of clips, kept or refused"),
            "num_kept": int64("clips that were kept"),
            "num_frames_decoded": int64("frames that the decoder gave"),
            "pack_id": text("SHA-256 of the tar with the MP4s; null if no clip was kept"),
            "path": text("that tar, below the lake's root; null if no clip was kept"),
            "num_bytes": int64("its size in bytes, 0 if there is none"),
            "warning": text("what the decoder found wrong, as sentences; null if nothing"),
        },
    ),
    "clips": Table(
        "Clips of every cutting, kept or refused; the view current_clips has what holds now",
        {
            "clip_id": CLIP_ID,
            "video_id": VIDEO_ID,
            "cut_key": _CUT_KEY,
            "start_us": int64("presentation time of its first source frame, in microseconds since the video's first frame"),
            "end_us": int64("the same of its last source frame"),
            "seconds": float64("from the first source frame to the last"),
            "num_source_frames": int64("frames of the video from the first to the last"),
            "num_frames": int32("frames of the MP4, at a constant rate; of a refused clip those it would have had"),
            "fps": float64("frames per second of the MP4"),
            "width": int32("width of the MP4 in pixels"),
            "height": int32("height of the MP4 in pixels"),
            "crop_x": int32("left edge of the content area's bounding box, in pixels of the upright source frame; one for the whole clip"),
            "crop_y": int32("top edge of that box"),
            "crop_width": int32("width of that box"),
            "crop_height": int32("height of that box"),
            "text_boxes": text("JSON: [x, y, width, height] in pixels of the MP4 of each box that is black in all of its frames"),
            "text_share": float32("share, 0-1, of the picture under these boxes"),
            "frames_by_reason": text("JSON: source frames looked at by the reason for which ingest would drop them; kept are the others"),
            "blur": float32("mean variance of the Laplacian of its source frames, as frames.blur"),
            "keep": boolean("whether it was kept"),
            "drop_reason": text("why it was refused, such as too_short, out_of_body or corrupt; null for a kept clip"),
            "byte_offset": int64("of the MP4's first byte in the tar of clip_videos; null for a refused clip"),
            "byte_size": int64("size of the MP4 in bytes; null for a refused clip"),
            "sha256": text("SHA-256 of the MP4, which other machines may encode otherwise; null for a refused clip"),
        },
    ),
    "shard_clips": Table(
        "Clips of datasets and where each lies",
        {
            "dataset_id": DATASET_ID,
            "shard": text("file name of the tar"),
            "clip_id": CLIP_ID,
            "position": int64("place in the dataset, 0 first, tar after tar"),
            "byte_offset": int64("of the MP4's first byte in the tar"),
            "byte_size": int64("size of the MP4 in bytes"),
        },
    ),
}

"""Tables that ingest and refiltering fill: videos, their frames, and what became of every other file."""

from __future__ import annotations

from warehouse.tables.ids import FRAME_ID, INGEST_KEY, VIDEO_ID
from warehouse.tables.notation import Table, binary, boolean, float32, float64, int32, int64, text, time

__all__ = ["INGEST_TABLES"]

_DECODER = text("decord, PyAV, PyAV keyframes (which decodes these alone), or Pillow for stills")

INGEST_TABLES: dict[str, Table] = {
    "videos": Table(
        "Videos that were ingested, one row for each content and ingest key; the view current_videos has the latest of each content",
        {
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "run_id": text("ingest run that made the row"),
            "uri": text("where it was found, file:// or a store's URI; of several stills their folder"),
            "num_bytes": int64("size in bytes; of stills all images together"),
            "container": text("FFmpeg's name of the file format, after dicom/ if it came out of a DICOM file; stills for images"),
            "codec": text("FFmpeg's name of the video stream's codec; of stills their formats, separated by commas"),
            "width": int32("width in pixels of the coded picture, before it is turned and its pixels made square; of stills the commonest"),
            "height": int32("height in pixels, as width"),
            "sample_aspect_ratio": float64("width of a coded pixel by its height; 1 if square within 1%, unknown or absurd"),
            "fps": float64("average frames per second that the container declares; 0 if unknown, and of stills"),
            "duration_s": float64("seconds that the container declares; 0 if unknown, and of stills"),
            "num_frames_declared": int64("frames that the container declares, 0 if it does not say; of stills the number of images"),
            "num_frames_decoded": int64("frames that the decoder gave, sampled or not"),
            "num_frames_skipped": int64("frames (keyframes if these alone are decoded) left out of decoding because no sample needs them"),
            "num_frames_sampled": int64("frames that were sampled, each a row of frames"),
            "num_frames_kept": int64("frames that ingest kept; in the view current_videos those that are kept by now"),
            "num_frames_boxed": int64("sampled frames with at least one box over text"),
            "text_share": float32("mean share, 0-1, of the picture under boxes over text, of the samples searched for text; 0 if none was"),
            "out_of_body_share": float32("share, 0-1, of the samples that ingest dropped as out_of_body or out_of_body_unchecked"),
            "content_area": text("shape of the endoscope's picture as it was found: circle, polygon, rectangle, or full (the whole frame)"),
            "decoder": _DECODER,
            "decoder_version": text("version of the decoder's Python package"),
            "status": text("ok, or partial if warning tells of a problem, such as frames that could not be decoded"),
            "warning": text("problems, notes and privacy flags as sentences, separated by '; '; null if there are none"),
            "pack_id": text("frame pack of the kept frames, a row of packs; null if none was kept"),
        },
    ),
    "packs": Table(
        "Frame packs, tars of one video's JPEGs: its kept frames, its spare ones, or those that a private audit brought back",
        {
            "pack_id": text("SHA-256 of the tar"),
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "path": text("tar below the lake's root; .spare.tar for frames dropped for quality, .restored-N.tar for those brought back"),
            "num_bytes": int64("size of the tar in bytes"),
            "num_frames": int64("JPEGs in it"),
        },
    ),
    "frames": Table(
        "Sampled frames of every ingest, kept or dropped, and those that private audits brought back; current_frames has what holds now",
        {
            "frame_id": text(
                "names one picture for good: 16 digits of video_id, 8 of ingest_key, time in microseconds, with audited "
                "before the time if an audit brought it back"
            ),
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "frame_index": int64(
                "place of the frame in its video, by presentation, 0 first; of stills that of the image, further pages last"
            ),
            "pts_us": int64("presentation time in microseconds since the video's first frame; stills are a second apart"),
            "decoder": _DECODER,
            "crop_x": int32("left edge of the content area's bounding box, in pixels of the upright source frame with square pixels"),
            "crop_y": int32("top edge of that box"),
            "crop_width": int32("width of that box"),
            "crop_height": int32("height of that box"),
            "blur": float32("variance of the Laplacian over the content area, scaled to 256 pixels' width; low is blurred"),
            "luma": float32("mean luma of the content area, 0-255"),
            "dark_share": float32("share, 0-1, of the content area's pixels with a luma of at most 25"),
            "bright_share": float32("share, 0-1, of the content area's pixels with a luma of at least 245"),
            "specular_share": float32("share, 0-1, of the content area's pixels that mirror the lamp: bright and nearly colourless"),
            "bubble_share": float32(
                "share, 0-1, of the content area's pixels amid crowded small bright structures, as in bubbles and foam"
            ),
            "stool_share": float32(
                "share, 0-1, of the well-lit pixels that are yellower than the video's own tissue; 0 if that cannot be judged"
            ),
            "motion": float32(
                "mean absolute luma difference, 0-255, to the sample before; null for the first of a video or size, and stills"
            ),
            "room_evidence": float32(
                "log-odds of a room by structure, at even prior odds; null if nearly all is warm or hardly any is lit"
            ),
            "imaging_mode": text("by colour alone: white_light (brown narrow band too), nbi, dye, fluorescence, grey or unknown"),
            "out_of_body": float32(
                "how surely, 0-1, it shows a room, by colour and structure, smoothed over time except in stills; "
                "null if too dark to judge, 0 if an audit brought it back"
            ),
            "text_share": float32(
                "share, 0-1, of the stored picture under boxes over text; null if text was not, or could not be, looked for"
            ),
            "unconfirmed_share": float32(
                "the same under boxes that are neither proven to hold text nor proven not to; null if text_share is"
            ),
            "text_boxes": text("JSON: [x, y, width, height] of each box, in pixels of the stored picture; null if text_share is"),
            "phash": text("64-bit perceptual hash of the content area as 16 hexadecimal digits"),
            "keep": boolean("whether ingest kept it, or the audit that brought it back; current_frames has what holds now"),
            "drop_reason": text("first reason for which it was dropped, such as blurred or near_duplicate; null for a kept frame"),
            "pack_id": text("frame pack with its JPEG, a row of packs; null if the picture is in none, as when it is withheld"),
            "byte_offset": int64("of the JPEG's first byte in the pack; null if pack_id is"),
            "byte_size": int64("size of the JPEG in bytes; null if pack_id is"),
            "width": int32("width of the JPEG in pixels; null if pack_id is"),
            "height": int32("height of the JPEG in pixels; null if pack_id is"),
            "sha256": text("SHA-256 of the JPEG; null if pack_id is"),
        },
    ),
    "previews": Table(
        "Small pictures of up to three dropped frames of each reason and video, to check the filters; private and corrupt ones pixelated",
        {
            "frame_id": FRAME_ID,
            "ingest_key": INGEST_KEY,
            "drop_reason": text("why ingest dropped the frame"),
            "jpeg": binary("JPEG, 160 pixels wide"),
        },
    ),
    "requalified": Table(
        "Frames of which a later decision by their stored scores says something else than ingest; only the latest requalify run counts",
        {
            "run_id": text("requalify run that decided"),
            "frame_id": FRAME_ID,
            "keep": boolean("whether it is kept by that decision"),
            "drop_reason": text("why it is not kept, not_stored if only for want of its picture; null for a kept frame"),
            "device": text("device that it counts as: by manifest or DICOM header, else the picture's size and content area in words"),
        },
    ),
    "files": Table(
        "What was last seen at each place, the latest row of a place counts; a file whose version is unchanged is not read again",
        {
            "uri": text("the place, file:// or a store's URI"),
            "version": text("size and time of the last change, or a store's ETag or the like; null if the file was found to be gone"),
            "video_id": text("SHA-256 of the content there, as videos.video_id; null if the file was found to be gone"),
            "num_bytes": int64("size in bytes; null if the file was found to be gone"),
            "seen_at": time("when it was read there, or found to be gone"),
        },
    ),
    "left_files": Table(
        "Files that are neither ingested nor rejected: the next ingest that sees them takes them again",
        {
            "uri": text("the place, file:// or a store's URI"),
            "reason": text("being_written, changed, missing, no_access, unreachable, io_error, not_mounted, worker_lost or filter_failed"),
            "detail": text("what happened, in words of the system, the store or the filter"),
            "since": time("when an ingest first left it for this reason and detail"),
        },
    ),
    "manifest_videos": Table(
        "What manifests and DICOM headers say of videos, by content and place; of several manifests the latest counts (view video_info)",
        {
            "video_id": VIDEO_ID,
            "uri": text("the place that is spoken of, file:// or a store's URI"),
            "run_id": text("manifest run that recorded the manifest, or ingest run that read the header"),
            "manifest_sha256": text("SHA-256 of the manifest; null if the video's own header says it"),
            "patient_id": text("keyed hash of the patient, 32 hexadecimal digits; null if not said, or by a header read without a key"),
            "site": text("as the manifest spells it; null if not said, and always from a header"),
            "device": text("as the manifest spells it, or the model name of the DICOM header; null if not said"),
            "procedure": text("as the manifest spells it; null if not said, and always from a header"),
            "date": text("as the manifest spells it; null if not said, and always from a header"),
            "study_id": text("keyed hash of the DICOM study's UID; null if not said or without a key, and always from a manifest"),
        },
    ),
    "rejects": Table(
        "Files that gave no frame, or no clip (by its cut_key), and why; what a later ingest with the same key decides replaces the row",
        {
            "uri": text("where the file was found, file:// or a store's URI"),
            "video_id": text("SHA-256 of its content, as videos.video_id; null if it has none that could be read"),
            "ingest_key": INGEST_KEY,
            "run_id": text("ingest or clips run that rejected it"),
            "num_bytes": int64("size in bytes"),
            "reason": text(
                "empty, not_a_file, not_a_video, no_video_stream, undecodable, duplicate, too_large, too_long, "
                "timeout, memory, crash or error"
            ),
            "detail": text("what was found, in words"),
        },
    ),
    "damaged_images": Table(
        "Stills that are damaged, whose frames are dropped as corrupt, or that cannot be read and have no frame",
        {
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "run_id": text("ingest run that read the stills"),
            "uri": text("the image, file:// or a store's URI"),
            "detail": text("what is damaged, or why it cannot be read, in words"),
        },
    ),
}

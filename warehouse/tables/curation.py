"""Tables that curation fills: vectors, duplicates, what is held out, clusters, selections and datasets."""

from __future__ import annotations

from warehouse.tables.ids import DATASET_ID, DEDUP_ID, ENCODER_ID, FRAME_ID, PACK_ID, SELECTION_ID, TREE_ID
from warehouse.tables.notation import Table, boolean, float32, int32, int64, text

__all__ = ["CURATION_TABLES"]

_DEDUP_CLUSTER = int32("cluster within which similar frames were searched, 0 first; not one of the table clusters")
_SHARD = text("file name of the tar")

CURATION_TABLES: dict[str, Table] = {
    "embeddings": Table(
        "Vectors, one Parquet part for each pack and encoder; DuckLake has no 16-bit float, so they stay in files of their own",
        {
            "part_id": text("SHA-256 of the Parquet file"),
            "pack_id": PACK_ID,
            "encoder_id": ENCODER_ID,
            "path": text("Parquet file below the lake's root, with frame_id and embedding, a unit vector of 16-bit floats"),
            "num_frames": int64("vectors in it, one for each frame of the pack"),
            "dim": int32("numbers in a vector"),
        },
    ),
    "similarities": Table(
        "Scores of each candidate against those that rank before it; by them any threshold of deduplication can be decided",
        {
            "similarity_id": text("SHA-256 over all rows of one search"),
            "frame_id": FRAME_ID,
            "cluster_id": _DEDUP_CLUSTER,
            "rank": int64("order in which frames are kept, 0 before all others"),
            "copy_of_frame_id": text("first by rank of the frames with the same JPEG; null for that one, and for a frame without copies"),
            "look_alike_frame_id": text(
                "closest by perceptual hash of those before it, in any video; null if none is near enough, and for a copy"
            ),
            "hash_distance": int32("differing bits, of 64, to look_alike_frame_id; null if that is"),
            "nearest_frame_id": text("most similar of those before it in its cluster; null for the first of a cluster, and for a copy"),
            "similarity": float32("cosine of the vectors, to nearest_frame_id; null if that is"),
        },
    ),
    "holdout": Table(
        "Candidates that a hold-out leaves out, one row each, and what of it each matches; of several held-out pictures the one most alike",
        {
            "holdout_id": text("SHA-256 over all rows of one search"),
            "frame_id": FRAME_ID,
            "match_kind": text(
                "perceptual or embedding: how a copy of a held-out picture was found; video or patient: all of it is held out"
            ),
            "reference_sha256": text("SHA-256 of the held-out picture or video; null if a name or a patient alone matched"),
            "reference": text("its name below the given folder, or in the given table; of a listed patient the hold-out's"),
            "via_frame_id": text(
                "copy for which this frame of the same video or patient goes too; null for the copy itself, and without a copy"
            ),
            "hash_distance": int32("differing bits, of 64, of copy and nearest view of the held-out picture; null if not found by hash"),
            "similarity": float32("cosine of the vectors of copy and nearest view of the held-out picture; null if not found by vector"),
            "correlation": float32("of local detail, -1 to 1, with the held-out picture laid over the copy; null without a copy"),
        },
    ),
    "dedup": Table(
        "Which candidates are duplicates of others, one row for each candidate of a deduplication; of clips, frame_id is the clip's",
        {
            "dedup_id": DEDUP_ID,
            "frame_id": FRAME_ID,
            "cluster_id": _DEDUP_CLUSTER,
            "kind": text("what makes it a duplicate, the first that applies of exact, perceptual and semantic; null for a unique frame"),
            "nearest_frame_id": text(
                "what it is a duplicate of; of a unique frame the most similar before it in its cluster, null if none"
            ),
            "hash_distance": int32("differing bits, of 64, to its closest look-alike; null if it has none, and for an exact copy"),
            "similarity": float32("cosine to the most similar frame before it in its cluster; null if it has none, and for an exact copy"),
            "is_duplicate": boolean("whether it is left out"),
        },
    ),
    "clusters": Table(
        "Cluster of each frame (or clip) of a tree at each level; frames that are new since the tree was made are placed in it later",
        {
            "tree_id": TREE_ID,
            "frame_id": FRAME_ID,
            "level": int32("1 is the finest; clusters of a level are clustered on the next"),
            "cluster_id": int32("number of the cluster on its level, 0 first"),
            "distance": float32(
                "Euclidean distance to the cluster's centroid, at level 1 from the frame's unit vector, "
                "above that from the centroid of its cluster one level below"
            ),
        },
    ),
    "selections": Table(
        "Selected frames, or clips; those of rank below M are the balanced selection of M images",
        {
            "selection_id": SELECTION_ID,
            "frame_id": FRAME_ID,
            "rank": int64("order of the selection, 0 first"),
            "cluster_id": int32("finest cluster (level 1) of the frame in the tree"),
        },
    ),
    "datasets": Table(
        "Datasets, which never change, one row for each name; the same content under two names has one id",
        {
            "dataset_id": DATASET_ID,
            "name": text("name that it was given, and of its folder"),
            "kind": text("what its tars hold: images or clips"),
            "run_id": text("shard run that wrote it"),
            "selection_id": SELECTION_ID,
            "dedup_id": DEDUP_ID,
            "tree_id": TREE_ID,
            "encoder_id": ENCODER_ID,
            "path": text("folder of its tars below the lake's root"),
            "num_images": int64("images, or clips, in its tars, those that come twice to fill a tar included"),
            "num_shards": int64("tars"),
            "seed": int64("of the run, and so of the order of the images"),
        },
    ),
    "shards": Table(
        "Tars of datasets, in the WebDataset format",
        {
            "dataset_id": DATASET_ID,
            "shard": _SHARD,
            "path": text("tar below the lake's root"),
            "sha256": text("SHA-256 of the tar"),
            "num_bytes": int64("size of the tar in bytes"),
            "num_images": int64("images, or clips, in it"),
        },
    ),
    "shard_frames": Table(
        "Images of datasets and where each lies",
        {
            "dataset_id": DATASET_ID,
            "shard": _SHARD,
            "frame_id": FRAME_ID,
            "position": int64("place in the dataset, 0 first, tar after tar"),
            "byte_offset": int64("of the JPEG's first byte in the tar"),
            "byte_size": int64("size of the JPEG in bytes"),
        },
    ),
}

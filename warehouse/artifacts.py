"""Records as the lineage names them."""

from __future__ import annotations

from functools import singledispatch

from warehouse.records import (
    Artifact,
    Checkpoint,
    ClusterTree,
    Dataset,
    EmbeddingPart,
    FramePack,
    Reject,
    Score,
    VideoRef,
    VideoRow,
)
from warehouse.store import content_id

__all__ = ["artifact_of"]


@singledispatch
def artifact_of(record: object) -> Artifact:
    """The artifact that a record stands for.

    Raises:
        TypeError: it stands for none.
    """
    raise TypeError(f"{type(record).__name__} is no artifact")


@artifact_of.register
def _(video: VideoRow) -> Artifact:
    return Artifact(artifact_id=video.video_id, kind="video", uri=video.uri, sha256=video.video_id, num_bytes=video.num_bytes)


@artifact_of.register
def _(video: VideoRef) -> Artifact:
    identity = video.video_id or content_id({"unreadable": video.path})
    return Artifact(artifact_id=identity, kind="video", uri=video.uri, sha256=video.video_id or None, num_bytes=video.num_bytes)


@artifact_of.register
def _(reject: Reject) -> Artifact:
    identity = content_id({"uri": reject.uri, "video_id": reject.video_id})
    return Artifact(artifact_id=identity, kind="rejected_file", uri=reject.uri, sha256=reject.video_id, num_bytes=reject.num_bytes)


@artifact_of.register
def _(pack: FramePack) -> Artifact:
    return Artifact(
        artifact_id=pack.pack_id, kind="frame_pack", uri=pack.path, sha256=pack.pack_id, num_bytes=pack.num_bytes, num_rows=pack.num_frames
    )


@artifact_of.register
def _(part: EmbeddingPart) -> Artifact:
    return Artifact(artifact_id=part.part_id, kind="embedding_part", uri=part.path, sha256=part.part_id, num_rows=part.num_frames)


@artifact_of.register
def _(tree: ClusterTree) -> Artifact:
    return Artifact(artifact_id=tree.tree_id, kind="cluster_tree", uri=tree.path, sha256=tree.tree_id, num_rows=tree.num_frames)


@artifact_of.register
def _(dataset: Dataset) -> Artifact:
    return Artifact(
        artifact_id=dataset.dataset_id,
        kind="dataset",
        uri=dataset.path,
        sha256=dataset.dataset_id,
        num_bytes=sum(shard.num_bytes for shard in dataset.shards),
        num_rows=dataset.num_images,
    )


@artifact_of.register
def _(checkpoint: Checkpoint) -> Artifact:
    identity = checkpoint.checkpoint_id
    return Artifact(artifact_id=identity, kind="checkpoint", uri=checkpoint.path, sha256=identity)


@artifact_of.register
def _(score: Score) -> Artifact:
    return Artifact(artifact_id=score.score_id, kind="score", uri=f"{score.task}/{score.head}/{score.metric}")

"""The only types that cross a stage boundary: frozen references, never pixels or tensors.

Every path inside a record is relative to the lake's root and uses forward slashes, so a lake can be moved.
Identifiers are content hashes (lower-case hexadecimal SHA-256) or are built from them, so the same input always has the same name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Artifact",
    "Checkpoint",
    "ClusterTree",
    "DamagedImage",
    "Dataset",
    "EmbeddingPart",
    "FramePack",
    "IngestedVideo",
    "Left",
    "PrivatePack",
    "Reject",
    "Score",
    "Shard",
    "VideoInfo",
    "VideoRef",
    "VideoRow",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One thing a run read or wrote, as the lineage knows it."""

    artifact_id: str
    kind: str
    """video, frame_pack, clip_pack, clip_vectors, requalification, embedding_part, dedup, cluster_tree, placement, selection, dataset,
    shard, checkpoint, weights, task, splits, score, report, dataset_export, model_export, atlas_export, audit, private_audit or labels"""
    uri: str
    """path relative to the lake's root, or a file:// URI for something outside it"""
    sha256: str | None = None
    num_bytes: int | None = None
    num_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRef:
    """A video as it was found: a file, an object in a store, or the images of a folder."""

    video_id: str
    """SHA-256 of the file's content, or over those of the images in order; empty until it is read, and where it cannot be"""
    path: str
    """absolute path, which may hold any character, or the URI of an object; of several images their folder"""
    num_bytes: int
    version: str | None = None
    """size and time, or what a store says instead: while it stays, the content is taken to stay; None where nothing is known"""
    images: tuple[str, ...] = ()
    """paths or URIs of the images, in order, where the video is made of stills"""

    @property
    def uri(self) -> str:
        """Where it is, as the lake spells it."""
        return _uri(self.path)

    def image_uri(self, position: int) -> str:
        """Where one of the images is, counted from 0."""
        return _uri(self.images[position])


def _uri(path: str) -> str:
    return Path(path).as_uri() if path.startswith("/") else path


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a manifest or a DICOM header says of one video."""

    patient_id: str | None
    """pseudonym, 32 hexadecimal digits"""
    site: str | None
    device: str | None
    procedure: str | None
    date: str | None
    """as the manifest spells it; never from a header"""
    study_id: str | None = None
    """pseudonym of the DICOM study"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePack:
    """An uncompressed tar of one video's kept frames, or of its spare ones, one `{frame_id}.jpg` member a frame, in time order."""

    pack_id: str
    """SHA-256 of the tar"""
    video_id: str
    path: str
    num_bytes: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivatePack:
    """An uncompressed tar of one video's private pictures, file mode 0600, with the rows of the table `private_frames` about it."""

    path: str
    num_bytes: int
    num_frames: int
    part: str
    """staged Parquet of the rows"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One row of the `videos` table."""

    video_id: str
    ingest_key: str
    uri: str
    """URI of where the video was found, file:// or a store's"""
    num_bytes: int
    container: str
    codec: str
    width: int
    height: int
    sample_aspect_ratio: float
    """width of a pixel by its height; frames are stored with square pixels"""
    fps: float
    duration_s: float
    num_frames_declared: int
    """0 where the container does not say"""
    num_frames_decoded: int
    num_frames_skipped: int
    """left out of decoding on purpose, because no sample needs them"""
    num_frames_sampled: int
    num_frames_kept: int
    content_area: str
    """circle, polygon, rectangle or full"""
    decoder: str
    decoder_version: str
    status: str
    """ok, or partial: some of it could not be decoded"""
    warning: str | None
    pack_id: str | None
    """None where no frame was kept"""
    num_frames_boxed: int = 0
    """samples with at least one box over text"""
    text_share: float = 0.0
    """mean over the samples of the share of the stored frame that boxes over text hide"""
    out_of_body_share: float = 0.0
    """share of the samples dropped as out of body"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One row of the `rejects` table: a file that gave no frame rows, and why."""

    uri: str
    video_id: str | None
    """None if it has no content that could be read"""
    ingest_key: str
    num_bytes: int
    reason: str
    """a short code: empty, not_a_file, not_a_video, no_video_stream, undecodable, duplicate, too_large or too_long; of what did not end by
    itself: timeout, memory, crash or error"""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Why a file is neither ingested nor rejected yet: the next run takes it again."""

    reason: str
    """a short code: being_written, changed, missing, no_access, unreachable, io_error, not_mounted, worker_lost or filter_failed"""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedImage:
    """One row of the `damaged_images` table: an image of a folder of stills that is damaged or cannot be read."""

    video_id: str
    ingest_key: str
    uri: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestedVideo:
    """What ingest made of one file: a video with its pack and frame rows, or a reject, or neither where it is left for the next run."""

    video: VideoRow | None
    pack: FramePack | None
    frames_part: str | None
    """staged Parquet of the `frames` table's rows of this video"""
    previews_part: str | None
    """staged Parquet of the `previews` table's rows of this video"""
    reject: Reject | None
    info: VideoInfo | None = None
    """what its own header says of where it is from"""
    left: Left | None = None
    """why it is left for the next run"""
    spare: FramePack | None = None
    """the frames dropped for quality or redundancy, for other thresholds to bring back"""
    damaged_images: tuple[DamagedImage, ...] = ()
    """of stills: each image that is damaged or cannot be read"""
    private: PrivatePack | None = None
    """pictures that wait for a person's decision"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPart:
    """Embeddings of the frames of one pack, as one Parquet of schema `embedding_schema(dim)`; a row of the `embeddings` table."""

    part_id: str
    """SHA-256 of the Parquet file"""
    pack_id: str
    encoder_id: str
    path: str
    num_frames: int
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTree:
    """A hierarchical clustering: centroids of every level in one .safetensors, assignments in the `clusters` table."""

    tree_id: str
    """SHA-256 of that file"""
    encoder_id: str
    path: str
    num_clusters: tuple[int, ...]
    """finest level first"""
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One WebDataset tar."""

    name: str
    path: str
    sha256: str
    num_bytes: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """An immutable, content-addressed set of shards."""

    dataset_id: str
    """SHA-256 over the shards' hashes in order"""
    name: str
    path: str
    """the folder of the tars"""
    selection_id: str
    num_images: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training state at one step, and the exported backbone where it was exported."""

    checkpoint_id: str
    """SHA-256 of the exported backbone's weights"""
    run_id: str
    step: int
    path: str
    """the exported backbone: a folder that timm loads as local-dir:"""
    validation_metric: str
    validation_score: float
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number of one model on one split of one task."""

    score_id: str
    model_id: str
    """checkpoint id, or the encoder id of a baseline"""
    model: str
    """what a person calls it: the run and step, random weights, or the encoder's name"""
    task: str
    data_id: str
    """SHA-256 over the evaluation data's files and labels"""
    split: str
    head: str
    metric: str
    value: float
    ci_low: float
    """95% interval over groups (patients) where the data names them, else over items; not a number where none is given"""
    ci_high: float
    num_items: int
    num_groups: int
    seed: int
    details: dict[str, str] = field(default_factory=dict)
    """hyperparameters chosen on the validation split"""

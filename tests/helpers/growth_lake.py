"""A lake of as many made-up frames as one likes, in the product's own formats, so that everything after embedding runs on it as it is.

Videos have 1000 frames. A frame is a real JPEG of 16 x 16 grey pixels with its number in a comment, so that no two are copies unless they
are meant to be (1%). Its vector is drawn from a mixture of groups whose sizes fall as 1 / rank, in runs as in a video; a tenth of the
frames lie within 0.98 cosine of the one before, and a twentieth have its perceptual hash but for up to two bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.packs.pack import PackEntry, write_pack
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import EmbeddingPart, FramePack, VideoRow
from warehouse.schema import TABLES, embedding_schema
from warehouse.store import file_sha256, write_parquet

__all__ = ["ENCODER_ID", "FRAMES_PER_VIDEO", "make_lake"]

FRAMES_PER_VIDEO = 1000
"""about what a full procedure keeps at one frame a second"""
ENCODER_ID = hashlib.sha256(b"made up").hexdigest()
_KEY = "made-up"
_NUM_GROUPS = 2000
_SPREAD = 0.7
"""length of a vector's own part beside its group's centre of length 1: two of a group have a cosine of 0.67"""
_MEAN_RUN = 20
"""frames of one group that stand together"""
_COPIES, _SIMILAR, _LOOK_ALIKES = 0.01, 0.10, 0.05


def make_lake(root: Path, *, num_frames: int, dim: int, seed: int = 0) -> Lake:
    """A new lake of that many kept, embedded frames, at least one video of them; the caller closes it."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((_NUM_GROUPS, dim), dtype=np.float32))
    lake = open_lake(root, create=True)
    videos: list[VideoRow] = []
    packs: list[FramePack] = []
    parts: list[EmbeddingPart] = []
    tables: list[Path] = []
    (root / "staging").mkdir(exist_ok=True)
    for number in range(-(-num_frames // FRAMES_PER_VIDEO)):
        size = min(FRAMES_PER_VIDEO, num_frames - number * FRAMES_PER_VIDEO)
        video_id = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        ids = [f"{video_id}-{microseconds:012d}" for microseconds in range(0, size * 10**6, 10**6)]
        path = f"frames/{video_id[:2]}/{video_id}.tar"
        written = write_pack(root / path, zip(ids, _jpegs(size, number, rng), strict=True))
        pack = FramePack(pack_id=written.pack_id, video_id=video_id, path=path, num_bytes=written.num_bytes, num_frames=size)
        packs.append(pack)
        videos.append(_video(video_id, pack))
        tables.append(root / "staging" / f"{number}.parquet")
        write_parquet(tables[-1], _frames(pack, written.entries, rng), durable=False)
        parts.append(_part(root, pack, ids, _vectors(size, centres, rng)))
    context = RunContext(runner="serial")
    with record_run(lake, plan_run(stage="ingest", version=1, config={"made_up": True}, inputs=[], seed=seed), context) as run:
        run.rows("videos", videos)
        run.rows("packs", [{**asdict(pack), "ingest_key": _KEY} for pack in packs])
        run.parts("frames", tables)
        run.output(*map(artifact_of, packs))
    config = {"encoder": "made-up", "encoder_id": ENCODER_ID}
    with record_run(lake, plan_run(stage="embed", version=1, config=config, inputs=list(map(artifact_of, packs))), context) as run:
        run.rows("embeddings", parts)
        run.output(*map(artifact_of, parts))
    for table in tables:
        table.unlink()
    return lake


def _jpegs(size: int, number: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Of one video, each with its place in a comment; a few say that they are the one before."""
    plain = bytes(cv2.imencode(".jpg", np.full((16, 16), 128, np.uint8))[1])
    is_copy = rng.random(size) < _COPIES
    last = 0
    for place in range(size):
        last = last if is_copy[place] else place
        comment = f"{number} {last}".encode()
        yield plain[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + plain[2:]


def _vectors(size: int, centres: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float16]:
    shares = 1 / np.arange(1, len(centres) + 1)
    starts = rng.random(size) < 1 / _MEAN_RUN
    starts[0] = True
    group = rng.choice(len(centres), int(starts.sum()), p=shares / shares.sum())[np.cumsum(starts) - 1]
    noise = rng.standard_normal((size, centres.shape[1]), dtype=np.float32) / np.float32(centres.shape[1] ** 0.5)
    points = _unit(centres[group] + np.float32(_SPREAD) * noise)
    for place in np.flatnonzero((rng.random(size) < _SIMILAR) & ~starts):
        points[place] = points[place - 1] + 0.1 * noise[place]
    return _unit(points).astype(np.float16)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _video(video_id: str, pack: FramePack) -> VideoRow:
    return VideoRow(
        video_id=video_id,
        ingest_key=_KEY,
        uri=f"file:///made-up/{video_id}.mp4",
        num_bytes=1,
        container="mp4",
        codec="h264",
        width=16,
        height=16,
        sample_aspect_ratio=1.0,
        fps=25.0,
        duration_s=float(pack.num_frames),
        num_frames_declared=25 * pack.num_frames,
        num_frames_decoded=25 * pack.num_frames,
        num_frames_skipped=0,
        num_frames_sampled=pack.num_frames,
        num_frames_kept=pack.num_frames,
        content_area="full",
        decoder="made-up",
        decoder_version="1",
        status="ok",
        warning=None,
        pack_id=pack.pack_id,
    )


def _frames(pack: FramePack, entries: tuple[PackEntry, ...], rng: np.random.Generator) -> pa.Table:
    size = len(entries)
    hashes = rng.integers(0, 1 << 63, size, dtype=np.uint64)
    for place in np.flatnonzero(rng.random(size) < _LOOK_ALIKES):
        flipped = sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 3), replace=False))
        hashes[place] = hashes[place - 1] ^ np.uint64(flipped)
    whole = np.arange(size)
    columns: dict[str, object] = {
        "frame_id": [entry.frame_id for entry in entries],
        "video_id": [pack.video_id] * size,
        "ingest_key": [_KEY] * size,
        "frame_index": whole,
        "pts_us": whole * 10**6,
        "decoder": ["made-up"] * size,
        **{name: np.full(size, side, np.int32) for name, side in (("crop_x", 0), ("crop_y", 0), ("crop_width", 16), ("crop_height", 16))},
        "blur": rng.uniform(50, 500, size).astype(np.float32),
        "phash": [f"{value:016x}" for value in hashes.tolist()],
        "keep": [True] * size,
        "pack_id": [pack.pack_id] * size,
        "byte_offset": [entry.byte_offset for entry in entries],
        "byte_size": [entry.byte_size for entry in entries],
        "width": np.full(size, 16, np.int32),
        "height": np.full(size, 16, np.int32),
        "sha256": [entry.sha256 for entry in entries],
    }
    scores = {
        name: rng.random(size, dtype=np.float32) for name in TABLES["frames"].names if TABLES["frames"].field(name).type == pa.float32()
    }
    columns = {**scores, **columns}
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(size, field.type) for field in TABLES["frames"]
    ]
    return pa.Table.from_arrays(arrays, schema=TABLES["frames"])


def _part(root: Path, pack: FramePack, ids: list[str], vectors: npt.NDArray[np.float16]) -> EmbeddingPart:
    path = f"embeddings/{ENCODER_ID[:16]}/{pack.pack_id}.parquet"
    dim = vectors.shape[1]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    write_parquet(root / path, pa.table({"frame_id": ids, "embedding": lists}, schema=embedding_schema(dim)), durable=False)
    return EmbeddingPart(
        part_id=file_sha256(root / path), pack_id=pack.pack_id, encoder_id=ENCODER_ID, path=path, num_frames=len(ids), dim=dim
    )

"""Embedding: the frames of a pack to unit vectors, as one Parquet part."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from curation.config import EmbedConfig
from curation.encoder import Encoder, Preprocessing, load_encoder
from curation.pack import iter_pack
from warehouse.records import EmbeddingPart, FramePack
from warehouse.schema import EMBEDDING_VECTORS
from warehouse.store import file_sha256, read_json, write_json, write_parquet

__all__ = ["EMBED_VERSION", "decode_image", "embed_images", "embed_pack"]

EMBED_VERSION = 1

_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def embed_pack(pack: FramePack, *, lake_root: str, config: EmbedConfig) -> EmbeddingPart:
    """Embed every frame of a pack into a Parquet part of `EMBEDDING_VECTORS`, in the pack's order.

    Writes embeddings/<first 16 digits of the encoder's id>/<pack_id>.parquet and, last, .json beside it; where both are there
    already, nothing is computed.

    Raises:
        ValueError: a member of the pack is not a readable JPEG, or the encoder cannot be loaded (see `load_encoder`).
        FileNotFoundError: the pack is not where its record says.
    """
    root = Path(lake_root)
    encoder = load_encoder(config)
    staged = f"embeddings/{encoder.encoder_id[:16]}/{pack.pack_id}"
    part_path, evidence_path = root / f"{staged}.parquet", root / f"{staged}.json"
    if evidence_path.exists() and part_path.exists():
        evidence = read_json(evidence_path)
        if evidence["embed_version"] == EMBED_VERSION:
            return EmbeddingPart(**evidence["part"])

    frame_ids: list[str] = []

    def images() -> Iterator[bytes]:
        for frame_id, jpeg in iter_pack(root / pack.path):
            frame_ids.append(frame_id)
            yield jpeg

    try:
        vectors = embed_images(images(), encoder, batch_size=config.batch_size)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"frame pack {pack.path} holds a damaged image ({error}); ingest its video {pack.video_id} again") from error
    table = pa.table({"frame_id": frame_ids, "embedding": _as_lists(vectors)}, schema=EMBEDDING_VECTORS)
    write_parquet(part_path, table)
    part = EmbeddingPart(
        part_id=file_sha256(part_path),
        pack_id=pack.pack_id,
        encoder_id=encoder.encoder_id,
        path=f"{staged}.parquet",
        num_frames=len(frame_ids),
        dim=encoder.dim,
    )
    write_json(evidence_path, {"embed_version": EMBED_VERSION, "part": asdict(part)})
    return part


@contextmanager
def _one_thread() -> Iterator[None]:
    """A convolution's sums depend on how many threads share them: one, everywhere, gives every runner the same vectors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def embed_images(jpegs: Iterator[bytes], encoder: Encoder, *, batch_size: int) -> npt.NDArray[np.float16]:
    """Unit vectors of shape (n, dim) of encoded images, in order.

    One thread decodes the next batch while the encoder works on this one.

    Raises:
        OSError: an image cannot be decoded.
    """
    vectors = [np.empty((0, encoder.dim), np.float16)]
    with _one_thread(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as decoder:

        def next_batch() -> npt.NDArray[np.uint8] | None:
            batch = [decode_image(jpeg, encoder.preprocessing) for jpeg in islice(jpegs, batch_size)]
            return np.stack(batch) if batch else None

        pending = decoder.submit(next_batch)
        while (batch := pending.result()) is not None:
            pending = decoder.submit(next_batch)
            vectors.append(_forward(batch, encoder))
    return np.concatenate(vectors)


@torch.inference_mode()
def _forward(batch: npt.NDArray[np.uint8], encoder: Encoder) -> npt.NDArray[np.float16]:
    # (n, height, width, 3) seen as (n, 3, height, width) is already the channels-last layout the module was put in.
    images = torch.from_numpy(batch).to(encoder.device).permute(0, 3, 1, 2).float()
    mean = torch.tensor(encoder.preprocessing.mean, device=encoder.device).mul_(255).view(1, 3, 1, 1)
    std = torch.tensor(encoder.preprocessing.std, device=encoder.device).mul_(255).view(1, 3, 1, 1)
    images.sub_(mean).div_(std)
    with torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=encoder.device.type == "cuda"):
        features = encoder.module(images)
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return unit.half().cpu().numpy()


def decode_image(jpeg: bytes, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Decode an image to the encoder's input, (image_size, image_size, 3) RGB, resized and cropped as timm's own transform does.

    Resize and crop are one resampling of the crop's box, and a JPEG much larger than needed is decoded at a fraction of its size.

    Raises:
        OSError: the bytes are not a readable image.
    """
    file = Image.open(io.BytesIO(jpeg))
    side = preprocessing.image_size
    file.draft("RGB", (2 * side, 2 * side))
    image = file.convert("RGB")
    width, height = image.size
    target = (side, side)
    box = (0.0, 0.0, float(width), float(height))
    if preprocessing.crop_mode == "squash":
        # timm resizes to side / crop_pct without keeping the aspect ratio, then takes the middle
        margin_x, margin_y = width * (1 - preprocessing.crop_pct) / 2, height * (1 - preprocessing.crop_pct) / 2
        box = (margin_x, margin_y, width - margin_x, height - margin_y)
    elif preprocessing.crop_mode == "border":
        kept = max(width, height) * preprocessing.crop_pct  # the box's sides in source pixels, where the image reaches that far
        box_width, box_height = min(width, kept), min(height, kept)
        left, top = (width - box_width) / 2, (height - box_height) / 2
        box = (left, top, left + box_width, top + box_height)
        target = (max(1, round(box_width * side / kept)), max(1, round(box_height * side / kept)))
    else:
        crop = min(width, height) * preprocessing.crop_pct
        left, top = (width - crop) / 2, (height - crop) / 2
        box = (left, top, left + crop, top + crop)
    resized = np.asarray(image.resize(target, _INTERPOLATION[preprocessing.interpolation], box=box))
    if resized.shape[:2] == (side, side):
        return resized
    # The border takes the mean colour, so it is zero after normalisation.
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = np.round(np.array(preprocessing.mean) * 255).astype(np.uint8)
    y, x = (side - resized.shape[0]) // 2, (side - resized.shape[1]) // 2
    canvas[y : y + resized.shape[0], x : x + resized.shape[1]] = resized
    return canvas


def _as_lists(vectors: npt.NDArray[np.float16]) -> pa.ListArray:
    num_frames, dim = vectors.shape
    offsets = pa.array(np.arange(0, (num_frames + 1) * dim, dim, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))

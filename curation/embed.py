"""Embedding: the frames of packs to unit vectors, one Parquet part a pack, in batches that are filled across packs.

Every batch has the same number of images, the last one of a group filled up with black: one shape, one sequence of kernels, so on a CPU the
vector of a frame does not depend on which frames stand beside it, and a part has the same bytes whichever packs share its group. Another
batch size may choose other kernels, and rounds differently.
"""

from __future__ import annotations

import ctypes
import functools
import io
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from curation.config import EmbedConfig
from curation.encoder import Encoder, Preprocessing, load_encoder
from curation.pack import iter_pack
from warehouse.records import EmbeddingPart, FramePack
from warehouse.schema import embedding_schema
from warehouse.store import file_sha256, read_json, write_json, write_parquet

__all__ = ["EMBED_VERSION", "PackGroup", "batch_size_on", "decode_image", "embed_images", "embed_packs", "group_packs"]

EMBED_VERSION = 2

_MOST_FRAMES_A_GROUP = 1024
_LEAST_GROUPS = 8
_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_BAD_IMAGE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, tarfile.TarError)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PackGroup:
    """Packs that one worker embeds in one stream."""

    packs: tuple[FramePack, ...]

    def __repr__(self) -> str:
        return f"{len(self.packs)} packs" + (f" from {self.packs[0].path} on" if self.packs else "")


def batch_size_on(device: torch.device, config: EmbedConfig) -> int:
    """Images per forward pass: what the settings say, or what suits the device."""
    return config.batch_size or (128 if device.type == "cuda" else 16)


def group_packs(packs: Sequence[FramePack], *, batch_size: int) -> list[PackGroup]:
    """Consecutive packs in groups of many batches, yet in enough groups that every worker has some."""
    total = sum(pack.num_frames for pack in packs)
    wanted = max(2 * batch_size, min(_MOST_FRAMES_A_GROUP, total // _LEAST_GROUPS))
    groups: list[list[FramePack]] = []
    size = wanted
    for pack in packs:
        if size >= wanted:
            groups.append([])
            size = 0
        groups[-1].append(pack)
        size += pack.num_frames
    return [PackGroup(packs=tuple(group)) for group in groups]


def embed_packs(group: PackGroup, *, lake_root: str, config: EmbedConfig) -> tuple[EmbeddingPart, ...]:
    """Embed every frame of a group's packs into a Parquet part of `embedding_schema` each, in the pack's order.

    Writes embeddings/<first 16 digits of the encoder's id>/<pack_id>.parquet and, last, .json beside it, as soon as the pack's last vector
    is there; a pack for which both are there already is not read.

    Raises:
        ValueError: a member of a pack is not a readable JPEG, or the encoder cannot be loaded (see `load_encoder`).
        FileNotFoundError: a pack is not where its record says.
    """
    root = Path(lake_root)
    encoder = load_encoder(config)
    done = {pack.pack_id: part for pack in group.packs if (part := _finished(pack, root, encoder)) is not None}
    waiting = deque(pack for pack in group.packs if pack.pack_id not in done)
    frame_ids: dict[str, list[str]] = {pack.pack_id: [] for pack in waiting}
    whole: set[str] = set()  # packs that have been read to their end

    def pixels() -> Iterator[npt.NDArray[np.uint8]]:
        for pack in tuple(waiting):
            try:
                for frame_id, jpeg in iter_pack(root / pack.path):
                    image = decode_image(jpeg, encoder.preprocessing)
                    frame_ids[pack.pack_id].append(frame_id)
                    yield image
            except _BAD_IMAGE as error:
                if getattr(error, "errno", None) is not None:  # the system's own: no fault of the image
                    raise
                raise ValueError(
                    f"frame pack {pack.path} holds a damaged image ({error}); ingest its video {pack.video_id} again"
                ) from error
            whole.add(pack.pack_id)

    pending = np.empty((0, encoder.dim), np.float16)

    def write_whole() -> None:
        nonlocal pending
        while waiting and waiting[0].pack_id in whole and len(frame_ids[waiting[0].pack_id]) <= len(pending):
            pack = waiting.popleft()
            ids = frame_ids.pop(pack.pack_id)
            done[pack.pack_id] = _write_part(pack, ids, pending[: len(ids)], root, encoder)
            pending = pending[len(ids) :]

    for vectors in _embed_pixels(pixels(), encoder, batch_size=batch_size_on(encoder.device, config)):
        pending = np.concatenate([pending, vectors])
        write_whole()
    write_whole()
    return tuple(done[pack.pack_id] for pack in group.packs)


def _staged(pack: FramePack, encoder: Encoder) -> str:
    return f"embeddings/{encoder.encoder_id[:16]}/{pack.pack_id}"


def _finished(pack: FramePack, root: Path, encoder: Encoder) -> EmbeddingPart | None:
    staged = root / _staged(pack, encoder)
    evidence_path = staged.with_suffix(".json")
    if not (evidence_path.exists() and staged.with_suffix(".parquet").exists()):
        return None
    evidence = read_json(evidence_path)
    return EmbeddingPart(**evidence["part"]) if evidence["embed_version"] == EMBED_VERSION else None


def _write_part(pack: FramePack, frame_ids: list[str], vectors: npt.NDArray[np.float16], root: Path, encoder: Encoder) -> EmbeddingPart:
    path = f"{_staged(pack, encoder)}.parquet"
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), encoder.dim)
    write_parquet(root / path, pa.table({"frame_id": frame_ids, "embedding": lists}, schema=embedding_schema(encoder.dim)))
    part = EmbeddingPart(
        part_id=file_sha256(root / path),
        pack_id=pack.pack_id,
        encoder_id=encoder.encoder_id,
        path=path,
        num_frames=len(frame_ids),
        dim=encoder.dim,
    )
    write_json((root / path).with_suffix(".json"), {"embed_version": EMBED_VERSION, "part": asdict(part)})
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


@functools.cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed activations.

    glibc hands blocks of this size back to the system at once and takes them anew for every layer; zeroing their pages was half of the time
    of a forward pass. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 1 << 28)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def embed_images(jpegs: Iterator[bytes], encoder: Encoder, *, batch_size: int) -> npt.NDArray[np.float16]:
    """Unit vectors of shape (n, dim) of encoded images, in order.

    Raises:
        OSError: an image cannot be decoded.
    """
    pixels = (decode_image(jpeg, encoder.preprocessing) for jpeg in jpegs)
    return np.concatenate([np.empty((0, encoder.dim), np.float16), *_embed_pixels(pixels, encoder, batch_size=batch_size)])


def _embed_pixels(pixels: Iterator[npt.NDArray[np.uint8]], encoder: Encoder, *, batch_size: int) -> Iterator[npt.NDArray[np.float16]]:
    """Unit vectors, (batch_size, dim) at a time and what is left at last; one thread takes the next images while the encoder works."""
    side = encoder.preprocessing.image_size
    if encoder.device.type == "cpu":
        keep_freed_memory()

    def next_batch() -> tuple[npt.NDArray[np.uint8], int]:
        batch = np.zeros((batch_size, side, side, 3), np.uint8)
        num_images = 0
        for image in islice(pixels, batch_size):
            batch[num_images] = image
            num_images += 1
        return batch, num_images

    with _one_thread(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as decoder:
        pending = decoder.submit(next_batch)
        while (taken := pending.result())[1]:
            batch, num_images = taken
            pending = decoder.submit(next_batch)
            yield _forward(batch, encoder)[:num_images]


@torch.inference_mode()
def _forward(batch: npt.NDArray[np.uint8], encoder: Encoder) -> npt.NDArray[np.float16]:
    # (n, height, width, 3) seen as (n, 3, height, width) is already the channels-last layout the module was put in.
    mean = torch.tensor(encoder.preprocessing.mean, device=encoder.device).mul_(255).view(1, 3, 1, 1)
    std = torch.tensor(encoder.preprocessing.std, device=encoder.device).mul_(255).view(1, 3, 1, 1)
    images = (torch.from_numpy(batch).to(encoder.device).permute(0, 3, 1, 2) - mean).div_(std)
    on_gpu = encoder.device.type == "cuda"
    with torch.autocast(encoder.device.type, dtype=_gpu_dtype() if on_gpu else torch.bfloat16, enabled=on_gpu):
        features = encoder.module(images)
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return unit.half().cpu().numpy()


def _gpu_dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def decode_image(jpeg: bytes, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Decode an image to the encoder's input, (image_size, image_size, 3) RGB, resized and cropped as timm's own transform does.

    A JPEG much larger than needed is decoded at a fraction of its size.

    Raises:
        OSError: the bytes are not a readable image.
    """
    file = Image.open(io.BytesIO(jpeg))
    side = preprocessing.image_size
    full_size = file.size
    file.draft("RGB", (2 * side, 2 * side))
    if file.size == full_size and preprocessing.crop_mode == "center" and preprocessing.interpolation in ("bilinear", "bicubic"):
        rgb = _whole_jpeg(jpeg) if file.format == "JPEG" and file.mode in ("RGB", "L") else None
        return _resize_and_crop(np.array(file.convert("RGB")) if rgb is None else rgb, preprocessing)
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


def _whole_jpeg(jpeg: bytes) -> npt.NDArray[Any] | None:
    """The pixels of a JPEG that ends as one should; OpenCV is quicker than Pillow, and would show the missing end of a cut one as grey."""
    if not jpeg.endswith(b"\xff\xd9"):
        return None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _resize_and_crop(rgb: npt.NDArray[Any], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The middle of (height, width, 3) uint8, as timm's Resize and CenterCrop give it; PyTorch resizes like Pillow, in half its time."""
    planes = torch.from_numpy(rgb).permute(2, 0, 1)
    height, width = rgb.shape[:2]
    side, shorter = preprocessing.image_size, int(preprocessing.image_size / preprocessing.crop_pct)
    longer = int(shorter * max(height, width) / min(height, width))
    size = (shorter, longer) if height <= width else (longer, shorter)
    resized = torch.nn.functional.interpolate(planes[None], size=size, mode=preprocessing.interpolation, antialias=True)[0]
    top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return np.ascontiguousarray(resized[:, top : top + side, left : left + side].permute(1, 2, 0).numpy())

"""Embedding: the frames of packs to unit vectors, one Parquet part a pack, in batches that are filled across packs.

A frame is in its pack as ingest stored it, cut to the content area of its video: the endoscope's own picture, without the black around it
and the text beside it. That is what the encoder sees, and nothing here cuts it again but the encoder's own centre crop.

Every batch has the same number of images, the last one of a group filled up with black: one shape, one sequence of kernels, so on a CPU the
vector of a frame does not depend on which frames stand beside it, and a part has the same bytes whichever packs share its group. Another
batch size may choose other kernels, and rounds differently.
"""

from __future__ import annotations

import tarfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from curation.embedding.batches import PackGroup, PackSlice
from curation.embedding.config import EmbedConfig
from curation.embedding.encoder import Encoder, load_encoder
from curation.embedding.encoder_source import Preprocessing
from curation.embedding.preprocess import decode_image, normalise
from curation.embedding.vectors import read_part
from curation.packs import iter_pack
from warehouse.records import EmbeddingPart, FramePack
from warehouse.schema import embedding_schema
from warehouse.store import file_sha256, read_json, write_json, write_parquet

__all__ = ["EMBED_VERSION", "batch_size_on", "embed_images", "embed_packs", "join_slices", "remove_unused_pieces", "whole_parts"]

EMBED_VERSION = 2

_PIECES = ("embeddings/*/v*/pieces/*.parquet", "embeddings/*/pieces/*.parquet")
"""of all encoders and versions; those of earlier lakes lie in no folder of a version"""

_BAD_IMAGE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, tarfile.TarError)


def batch_size_on(device: torch.device, config: EmbedConfig) -> int:
    """Images per forward pass: what the settings say, or what suits the device."""
    return config.batch_size or (128 if device.type == "cuda" else 16)


def embed_packs(group: PackGroup, *, lake_root: str, config: EmbedConfig) -> tuple[EmbeddingPart, ...]:
    """Embed a group's frames; returns the parts of the packs that lie wholly in it, in their order.

    Writes a Parquet part of `embedding_schema` for each whole pack, embeddings/<first 16 digits of the encoder's id>/v<EMBED_VERSION>/
    <pack_id>.parquet and, last, .json beside it, as soon as the pack's last vector is there. A slice of a pack goes to the folder `pieces`
    beside them, for `join_slices`. What is there already is not embedded again.

    Raises:
        ValueError: a member of a pack is not a readable JPEG, a pack holds other than its record's number of frames, or the encoder cannot
            be loaded (see `load_encoder`).
        FileNotFoundError: a pack is not where its record says.
    """
    root = Path(lake_root)
    encoder = load_encoder(config)
    done = {piece: part for piece in group.slices if (part := _finished(piece.pack, root, encoder)) is not None}
    waiting = deque(
        piece for piece in group.slices if piece not in done and not (piece.is_partial and _piece(piece, root, encoder).exists())
    )
    frame_ids: dict[PackSlice, list[str]] = {piece: [] for piece in waiting}
    whole: set[PackSlice] = set()  # what has been read to its end

    def pixels() -> Iterator[npt.NDArray[np.uint8]]:
        for piece in tuple(waiting):
            for frame_id, image in _images(piece, root, encoder.preprocessing):
                frame_ids[piece].append(frame_id)
                yield image
            whole.add(piece)

    def write(piece: PackSlice, ids: list[str], vectors: npt.NDArray[np.float16]) -> None:
        if piece.is_partial:
            write_parquet(_piece(piece, root, encoder), _table(ids, vectors, encoder.dim))
        else:
            done[piece] = _write_part(piece.pack, ids, vectors, root, encoder)

    pending = np.empty((0, encoder.dim), np.float16)
    # Half of the time of writing is waiting for the disk.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="write") as writer:
        written: list[Future[None]] = []

        def write_whole() -> None:
            nonlocal pending
            while waiting and waiting[0] in whole and len(frame_ids[waiting[0]]) <= len(pending):
                ids = frame_ids.pop(piece := waiting.popleft())
                written.append(writer.submit(write, piece, ids, pending[: len(ids)]))
                pending = pending[len(ids) :]

        for vectors in _embed_pixels(pixels(), encoder, batch_size=batch_size_on(encoder.device, config)):
            pending = np.concatenate([pending, vectors])
            write_whole()
        write_whole()
    for future in written:
        future.result()
    return tuple(done[piece] for piece in group.slices if not piece.is_partial)


def whole_parts(
    groups: Sequence[PackGroup], embedded: Iterable[tuple[EmbeddingPart, ...]], *, lake_root: str, config: EmbedConfig
) -> Iterator[tuple[EmbeddingPart, ...]]:
    """What `embed_packs` returned for each group in turn, with the parts of the packs that ended in it after a start in an earlier one."""
    begun: list[PackSlice] = []  # the slices, so far, of the pack that the groups are in
    for group, parts in zip(groups, embedded, strict=True):
        ready = {part.pack_id: part for part in parts}
        for piece in group.slices:
            if piece.is_partial:
                begun.append(piece)
                if piece.stop == piece.pack.num_frames:
                    ready[piece.pack.pack_id] = join_slices(begun, lake_root=lake_root, config=config)
                    begun = []
        yield tuple(ready[piece.pack.pack_id] for piece in group.slices if piece.stop == piece.pack.num_frames)


def join_slices(slices: Sequence[PackSlice], *, lake_root: str, config: EmbedConfig) -> EmbeddingPart:
    """The part of a pack whose slices have all been embedded: the bytes that embedding it at once would have written."""
    root, encoder, pack = Path(lake_root), load_encoder(config), slices[0].pack
    part = _finished(pack, root, encoder)
    if part is None:
        read = [read_part(_piece(piece, root, encoder), encoder.dim) for piece in slices]
        ids = [frame_id for frame_ids, _ in read for frame_id in frame_ids]
        part = _write_part(pack, ids, np.concatenate([vectors for _, vectors in read]), root, encoder)
    for left in _pieces(root, encoder).glob(f"{pack.pack_id}.*"):  # an earlier run may have cut the pack elsewhere
        left.unlink()
    return part


def remove_unused_pieces(groups: Sequence[PackGroup], *, lake_root: str, config: EmbedConfig, older_than_s: float) -> int:
    """Delete the pieces that killed runs left and embedding these groups does not use, be they of another encoder, version or batch size.

    Younger ones stay, for they may be of a run that is at work beside this one.

    Returns:
        how many there were.
    """
    root, num_removed, oldest = Path(lake_root), 0, time.time() - older_than_s
    if left := [path for pattern in _PIECES for path in root.glob(pattern)]:
        encoder = load_encoder(config)
        used = {_piece(piece, root, encoder) for group in groups for piece in group.slices if piece.is_partial}
        for path in left:
            with suppress(FileNotFoundError):
                if path not in used and path.stat().st_mtime < oldest:
                    path.unlink()
                    num_removed += 1
    return num_removed


def _images(piece: PackSlice, root: Path, preprocessing: Preprocessing) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Each frame's id and pixels."""
    pack, num_read = piece.pack, 0
    try:
        last = None if piece.stop == pack.num_frames else piece.stop - piece.start
        for frame_id, jpeg in islice(iter_pack(root / pack.path, start=piece.start), last):
            yield frame_id, decode_image(jpeg, preprocessing)
            num_read += 1
    except _BAD_IMAGE as error:
        if getattr(error, "errno", None) is not None:  # the system's own: no fault of the image
            raise
        raise ValueError(f"frame pack {pack.path} holds a damaged image ({error}); ingest its video {pack.video_id} again") from error
    if num_read != piece.stop - piece.start:
        raise ValueError(
            f"frame pack {pack.path} gave {num_read} frames from frame {piece.start} on, expected {piece.stop - piece.start}; "
            f"ingest its video {pack.video_id} again"
        )


def _folder(encoder: Encoder) -> str:
    """Of one version: what a part's id was taken of is never overwritten by another version of it."""
    return f"embeddings/{encoder.encoder_id[:16]}/v{EMBED_VERSION}"


def _staged(pack: FramePack, encoder: Encoder) -> str:
    return f"{_folder(encoder)}/{pack.pack_id}"


def _pieces(root: Path, encoder: Encoder) -> Path:
    return root / _folder(encoder) / "pieces"


def _piece(piece: PackSlice, root: Path, encoder: Encoder) -> Path:
    return _pieces(root, encoder) / f"{piece.pack.pack_id}.{piece.start}-{piece.stop}.parquet"


def _finished(pack: FramePack, root: Path, encoder: Encoder) -> EmbeddingPart | None:
    staged = root / _staged(pack, encoder)
    evidence_path = staged.with_suffix(".json")
    if not (evidence_path.exists() and staged.with_suffix(".parquet").exists()):
        return None
    return EmbeddingPart(**read_json(evidence_path)["part"])


def _write_part(pack: FramePack, frame_ids: list[str], vectors: npt.NDArray[np.float16], root: Path, encoder: Encoder) -> EmbeddingPart:
    path = f"{_staged(pack, encoder)}.parquet"
    write_parquet(root / path, _table(frame_ids, vectors, encoder.dim))
    part = EmbeddingPart(
        part_id=file_sha256(root / path),
        pack_id=pack.pack_id,
        encoder_id=encoder.encoder_id,
        path=path,
        num_frames=len(frame_ids),
        dim=encoder.dim,
    )
    write_json((root / path).with_suffix(".json"), {"part": asdict(part)})
    return part


def _table(frame_ids: list[str], vectors: npt.NDArray[np.float16], dim: int) -> pa.Table:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
    return pa.table({"frame_id": frame_ids, "embedding": lists}, schema=embedding_schema(dim))


@contextmanager
def _one_thread() -> Iterator[None]:
    """A convolution's sums depend on how many threads share them: one, everywhere, gives every runner the same vectors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def embed_images(jpegs: Iterator[bytes], encoder: Encoder, *, batch_size: int, num_threads: int = 1) -> npt.NDArray[np.float16]:
    """Unit vectors of shape (n, dim) of encoded images, in order.

    Args:
        jpegs: the images.
        encoder: whose preprocessing they get.
        batch_size: images at a time.
        num_threads: batches that a CPU embeds at once; a vector does not depend on it.

    Raises:
        OSError: an image cannot be decoded.
    """
    pixels = (decode_image(jpeg, encoder.preprocessing) for jpeg in jpegs)
    batches = _embed_pixels(pixels, encoder, batch_size=batch_size, num_threads=num_threads)
    return np.concatenate([np.empty((0, encoder.dim), np.float16), *batches])


def _embed_pixels(
    pixels: Iterator[npt.NDArray[np.uint8]], encoder: Encoder, *, batch_size: int, num_threads: int = 1
) -> Iterator[npt.NDArray[np.float16]]:
    """Unit vectors, (batch_size, dim) at a time and what is left at last; one thread takes the next images while the encoder works."""
    side = encoder.preprocessing.image_size

    def next_batch() -> tuple[npt.NDArray[np.uint8], int, Exception | None]:
        batch = np.zeros((batch_size, side, side, 3), np.uint8)
        num_images, error = 0, None
        try:
            for image in islice(pixels, batch_size):
                batch[num_images] = image
                num_images += 1
        except Exception as raised:  # raised again below, when what came before it has been embedded
            error = raised
        return batch, num_images, error

    at_once = num_threads if encoder.device.type == "cpu" else 1
    with (
        _one_thread(),
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as decoder,
        ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="embed") as network,
    ):
        pending = decoder.submit(next_batch)
        running: deque[tuple[int, Future[npt.NDArray[np.float16]]]] = deque()
        error, is_last = None, False
        while running or not is_last:
            while len(running) < at_once and not is_last:
                batch, num_images, error = pending.result()
                is_last = error is not None or num_images < batch_size
                if not is_last:
                    pending = decoder.submit(next_batch)
                if num_images:
                    running.append((num_images, network.submit(_forward, batch, encoder)))
            if running:
                num_done, done = running.popleft()
                yield done.result()[:num_done]
        if error is not None:
            raise error


@torch.inference_mode()
def _forward(batch: npt.NDArray[np.uint8], encoder: Encoder) -> npt.NDArray[np.float16]:
    images = normalise(batch, encoder.preprocessing, encoder.device)
    on_gpu = encoder.device.type == "cuda"
    with torch.autocast(encoder.device.type, dtype=_gpu_dtype() if on_gpu else torch.bfloat16, enabled=on_gpu):
        features = encoder.module(images)
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return unit.half().cpu().numpy()


def _gpu_dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

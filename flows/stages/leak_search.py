"""Pictures that may show the same, by embedding: items of two splits, and test images among the frames that a model learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from curation.embedding import OFFLINE_ENCODER, EmbedConfig, Encoder, batch_size_on, embed_images, load_encoder, read_part
from curation.holdout import (
    compare,
    content_of,
    flipped,
    nearest_by_embedding,
    nothing_near,
    remembered_features,
    stored_picture,
)
from curation.packs import read_frame
from evaluation.config import EvaluateConfig
from evaluation.leakage import COPY_OF_OTHER_PATIENT, Propose
from evaluation.tasks import Item, eight_bit, open_file, upright
from flows.runners import say
from warehouse.lake import Lake
from warehouse.overlap import DatasetFrame, dataset_frames
from warehouse.queries import encoder_label

__all__ = ["by_embedding", "item_vectors", "num_near_training"]

NUM_PROPOSED = 3
"""pictures looked at for each one, at most"""

SPLIT_COSINE = 0.8
"""of two items' embeddings, from which they are; copies between the splits of Kvasir-SEG have 0.827 or more"""

MIN_COSINE = 0.5
"""the same for test images and training frames, whose encoder may be any"""

_FORMS = (None, 1, 0, -1)  # as it is and OpenCV's codes of flips; the copies that are cut down are for `curate --holdout`

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def item_vectors(items: Sequence[Item], config: EvaluateConfig) -> Floats:
    """Unit vectors [N, D] of items by the offline encoder, which sees them as it sees the frames of a lake: cut to their content.

    Raises:
        TaskError: an item does not decode.
    """
    told = EmbedConfig(encoder=OFFLINE_ENCODER, device=config.device)
    encoder = load_encoder(told)
    jpegs = (_jpeg(_content(item)) for item in items)
    return _vectors(jpegs, encoder, told, config)


def by_embedding(vectors: Floats) -> Propose:
    """The nearest items of another split, by the search that finds copies of what is held out."""

    def propose(later: Ints, earlier: Ints) -> list[list[tuple[int, float]]]:
        near = nearest_by_embedding(vectors[later], vectors[earlier], first_view=0, so_far=nothing_near(len(later), NUM_PROPOSED))
        rows = zip(near.view.tolist(), near.value.tolist(), strict=True)
        return [
            [(int(earlier[view]), cosine) for view, cosine in zip(*row, strict=True) if view >= 0 and cosine >= SPLIT_COSINE]
            for row in rows
        ]

    return propose


def num_near_training(lake: Lake, items: Sequence[Item], dataset_ids: Sequence[str], config: EvaluateConfig) -> int | None:
    """How many items show the same as a frame of datasets, seen by the encoder that embedded the lake.

    A picture and its three mirror images propose the frames, and local features decide. None if that encoder is not here, a dataset is of
    clips, or frames of the datasets have no embedding, or are gone.

    Raises:
        TaskError: an item does not decode.
    """
    encoder_id, frames = dataset_frames(lake, dataset_ids)
    if encoder_id is None or not items:
        return None
    told = EmbedConfig(encoder=encoder_label(lake, encoder_id), device=config.device)
    try:
        encoder = load_encoder(told)
    except ValueError as error:  # among them PlugInError
        say(f"evaluate: whether test images are among the training frames stays unknown: {error}")
        return None
    if encoder.encoder_id != encoder_id:
        return None
    jpegs = (_jpeg(rgb) for item in items for rgb in _forms(_content(item)))  # one item at a time: a test split may have 40,000
    vectors = _vectors(jpegs, encoder, told, config)
    near = nothing_near(len(vectors), NUM_PROPOSED)
    found: list[DatasetFrame] = []
    for path, members in _by_part(frames).items():
        ids, known = read_part(lake.root / path, encoder.dim)
        places = {frame_id: number for number, frame_id in enumerate(ids)}
        block = known[[places[frame.frame_id] for frame in members]].astype(np.float32)
        near = nearest_by_embedding(vectors, block, first_view=len(found), so_far=near)
        found += members

    def is_near(number: int) -> bool:
        rows = slice(number * len(_FORMS), (number + 1) * len(_FORMS))
        proposed = enumerate(zip(near.view[rows].ravel().tolist(), near.value[rows].ravel().tolist(), strict=True))
        likely = [(turn // NUM_PROPOSED, view) for turn, (view, cosine) in proposed if view >= 0 and cosine >= MIN_COSINE]
        own = remembered_features(_content(items[number])) if likely else None
        for form, view in likely:
            assert own is not None
            code = _FORMS[form]
            seen = own if code is None else flipped(own, code)
            if compare(remembered_features(_frame(lake, found[view])), seen).correlation >= COPY_OF_OTHER_PATIENT:
                return True
        return False

    with ThreadPoolExecutor(config.num_workers) as pool:
        return sum(pool.map(is_near, range(len(items))))


def _vectors(jpegs: Iterator[bytes], encoder: Encoder, told: EmbedConfig, config: EvaluateConfig) -> Floats:
    vectors = embed_images(jpegs, encoder, batch_size=batch_size_on(encoder.device, told), num_threads=config.num_workers)
    return vectors.astype(np.float32)


def _by_part(frames: Sequence[DatasetFrame]) -> dict[str, list[DatasetFrame]]:
    parts: dict[str, list[DatasetFrame]] = defaultdict(list)
    for frame in frames:
        parts[frame.embedding_path].append(frame)
    return parts


def _content(item: Item) -> Pixels:
    """What the endoscope shows, as ingest would store it."""
    return content_of(stored_picture(_pixels(item))).rgb


def _forms(rgb: Pixels) -> list[Pixels]:
    return [rgb if code is None else np.asarray(cv2.flip(rgb, code), np.uint8) for code in _FORMS]


def _pixels(item: Item) -> Pixels:
    """The item as it is in its file, upright, [H, W, 3]."""
    with open_file(item.path) as file:
        image: Image.Image = eight_bit(upright(file), item.path).convert("RGB")
        if item.box is not None:
            x, y, width, height = item.box
            image = image.crop((x, y, x + width, y + height))
        return np.asarray(image)


def _jpeg(rgb: Pixels) -> bytes:
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def _frame(lake: Lake, frame: DatasetFrame) -> Pixels:
    jpeg = read_frame(Path(lake.root) / frame.pack_path, frame.byte_offset, frame.byte_size)
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)

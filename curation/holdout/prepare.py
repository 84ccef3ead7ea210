"""Stage function: what is held out to its pictures and their views, hashed and embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile

import cv2
import numpy as np
import pyarrow as pa

from curation.embedding import EmbedConfig, batch_size_on, embed_images, load_encoder
from curation.holdout.list import HeldOutFile
from curation.holdout.views import probes_of, shared_areas, stored_picture, view_hash, views_of
from curation.ingest import IngestConfig, Scan, read_still, scan_source, spooled
from curation.packs import write_pack
from curation.sources import LeftForLater, alone, look_at
from warehouse.store import read_json, write_json, write_parquet

__all__ = ["HeldOutBatch", "ViewsPart", "batches_of", "prepare_views"]

_FILES_PER_BATCH = 64
_PROBED_EACH = 8  # one picture in so many gives probes, the first of a batch among them
_SPOOL_MEMORY_BYTES = 16 << 20

_VIEWS = pa.schema(
    {
        "picture": pa.string(),
        "sha256": pa.string(),
        "name": pa.string(),
        "pack": pa.string(),
        "byte_offset": pa.int64(),
        "byte_size": pa.int64(),
        "flip": pa.int32(),
        "phash": pa.uint64(),
        "embedding": pa.list_(pa.float16()),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutBatch:
    """Some of what is held out."""

    number: int
    files: tuple[HeldOutFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsPart:
    """The views of a batch."""

    path: str
    """Parquet of the views, below the working folder"""
    num_pictures: int
    num_views: int
    probes: tuple[float, ...]
    """each altered copy's similarity to the nearest view of its original"""
    failures: dict[str, str] = field(default_factory=dict)
    """name and reason of what could not be read"""


def batches_of(files: Sequence[HeldOutFile]) -> list[HeldOutBatch]:
    """Videos each for itself, pictures together."""
    images = [file for file in files if file.is_image]
    groups = [tuple(images[start : start + _FILES_PER_BATCH]) for start in range(0, len(images), _FILES_PER_BATCH)]
    groups += [(file,) for file in files if not file.is_image]
    return [HeldOutBatch(number=number, files=group) for number, group in enumerate(groups)]


def prepare_views(batch: HeldOutBatch, *, work: str, encoder: EmbedConfig, seed: int) -> ViewsPart:
    """Hash and embed every view of a batch's pictures, of videos one a second; what cannot be read is named and the rest goes on.

    Writes views/<number>.parquet and, with the pictures themselves, views/<number>.tar; last, where all could be read, views/<number>.json.
    A batch of which that is there is not looked at again: the folder is of one search, which is named by the content of every file.

    Raises:
        OSError: the working folder cannot be written.
    """
    cv2.setNumThreads(1)
    root = Path(work)
    finished = root / f"views/{batch.number:06d}.json"
    if finished.exists():
        stored = read_json(finished)
        return ViewsPart(**{**stored, "probes": tuple(stored["probes"])})
    failures: dict[str, str] = {}
    pictures = list(_pictures(batch, root, failures))
    pack = f"views/{batch.number:06d}.tar"
    written = write_pack(root / pack, ((f"{number:06d}", _jpeg(rgb)) for number, (_, rgb) in enumerate(pictures)))
    rows: list[dict[str, object]] = []
    jpegs: list[bytes] = []
    probes: list[bytes] = []
    probed: list[int] = []
    areas = shared_areas([rgb for _, rgb in pictures])
    rng = np.random.default_rng([seed, batch.number])
    for number, ((file, rgb), entry) in enumerate(zip(pictures, written.entries, strict=True)):
        views = views_of(rgb, areas[rgb.shape])
        for view in views:
            place = {"pack": pack, "byte_offset": entry.byte_offset, "byte_size": entry.byte_size}
            rows.append(
                {"picture": f"{batch.number}-{number}", "sha256": file.sha256, "name": file.name, **place, "flip": view.flip}
                | {"phash": view_hash(view)}
            )
            jpegs.append(_jpeg(view.rgb))
        if number % _PROBED_EACH == 0:
            altered = probes_of(views[0], rng=rng)
            probes += [_jpeg(probe) for probe in altered]
            probed += [number] * len(altered)
    model = load_encoder(encoder)
    vectors = embed_images(iter([*jpegs, *probes]), model, batch_size=batch_size_on(model.device, encoder))
    similarity = vectors[len(jpegs) :].astype(np.float32) @ vectors[: len(jpegs)].T.astype(np.float32)
    owner = np.array([str(row["picture"]) for row in rows])
    found = [float(values[owner == f"{batch.number}-{number}"].max()) for values, number in zip(similarity, probed, strict=True)]
    columns = {name: [row[name] for row in rows] for name in _VIEWS.names if name != "embedding"}
    table = pa.table({**columns, "embedding": list(vectors[: len(jpegs)])}, schema=_VIEWS)
    write_parquet(root / f"views/{batch.number:06d}.parquet", table)
    part = ViewsPart(
        path=f"views/{batch.number:06d}.parquet",
        num_pictures=len(pictures),
        num_views=len(rows),
        probes=tuple(found),
        failures=failures,
    )
    if not failures:  # else another run may read them
        write_json(finished, part)
    return part


def _pictures(batch: HeldOutBatch, root: Path, failures: dict[str, str]) -> Iterator[tuple[HeldOutFile, np.ndarray]]:
    config = IngestConfig(text="off")
    for file in batch.files:
        if file.is_image:
            try:
                yield file, stored_picture(read_still(Path(file.path), config))
            except ValueError as error:
                failures[file.name] = str(error)
            except LeftForLater as error:
                failures[file.name] = error.left.detail
            continue
        with SpooledTemporaryFile(_SPOOL_MEMORY_BYTES) as spool:
            try:
                scan, _ = scan_source(alone(look_at(file.path)), config, spool, scratch=root / "scratch", key=None)
            except LeftForLater as error:
                failures[file.name] = error.left.detail
                continue
            if not isinstance(scan, Scan):
                failures[file.name] = f"{scan.reason}: {scan}"
                continue
            for sample in scan.samples:
                picture = cv2.imdecode(np.frombuffer(spooled(spool, sample), np.uint8), cv2.IMREAD_COLOR_RGB)
                yield file, stored_picture(np.asarray(picture))


def _jpeg(rgb: np.ndarray) -> bytes:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return bytes(jpeg)

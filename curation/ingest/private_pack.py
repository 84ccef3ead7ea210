"""Private packs: pictures that were withheld on a doubtful verdict, kept until a person has looked.

A private pack is a tar like a frame pack, with file mode 0600, one a video, `frames/<key8>/<xx>/<video_id>.private.tar`. It holds a picture
of every frame dropped for privacy, and of every stored or quarantined frame with boxes that were not confirmed to be text. In each, all
outside the content area is black and confirmed text is painted over; unconfirmed boxes are not. Only the table `private_frames` names these
packs: no shard, spare pack, export, embedding, report or card is made from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa

from curation.ingest.config import IngestConfig
from curation.ingest.decide import spare_reasons
from curation.ingest.scan import Sample, painted, spooled
from curation.packs import write_pack
from curation.privacy import privacy_reasons
from warehouse.records import PrivatePack
from warehouse.schema import TABLES
from warehouse.store import write_parquet

__all__ = ["erase_pictures", "private_jpeg", "why_private", "write_private_pack"]


def why_private(sample: Sample, config: IngestConfig) -> str | None:
    """Why a picture of the sample goes to the private pack: out_of_body, text or mask; None if none does."""
    reason = sample.drop_reason
    if reason in privacy_reasons() and reason != "text_unaudited":
        return "text" if reason in ("text", "text_unchecked") else "out_of_body"
    is_wanted = reason in (None, "text_unaudited") or (reason in spare_reasons() and config.store_dropped)
    return "mask" if is_wanted and sample.unconfirmed_boxes else None


def private_jpeg(spool: IO[bytes], sample: Sample, quality: int) -> bytes:
    """The sample's JPEG with confirmed text painted over and unconfirmed boxes not."""
    if sample.unpainted is None:
        return spooled(spool, sample)
    offset, size = sample.unpainted
    spool.seek(offset)
    return painted(spool.read(size), [box for box in sample.text_boxes or () if box not in sample.unconfirmed_boxes], quality)


def write_private_pack(
    root: Path,
    path: str,
    part: str,
    samples: Sequence[tuple[str, Sample]],
    spool: IO[bytes],
    config: IngestConfig,
    *,
    video_id: str,
    ingest_key: str,
) -> PrivatePack | None:
    """Write the private pack of a video and the Parquet `part` of its rows; None if there is nothing to keep.

    Args:
        root: of the lake.
        path: of the pack, below the root.
        part: of the Parquet, below the root.
        samples: all samples of the video with their frame ids, in time order, decided.
        spool: holds their JPEGs.
        config: of the ingest.
        video_id: of the video.
        ingest_key: of the ingest.
    """
    chosen = [(frame_id, sample, why) for frame_id, sample in samples if (why := why_private(sample, config))]
    if not chosen or not config.store_private:
        return None
    jpegs = ((frame_id, private_jpeg(spool, sample, config.jpeg_quality)) for frame_id, sample, _ in chosen)
    written = write_pack(root / path, jpegs, is_private=True)
    rows = [
        {
            "frame_id": frame_id,
            "video_id": video_id,
            "ingest_key": ingest_key,
            "path": path,
            "byte_offset": entry.byte_offset,
            "byte_size": entry.byte_size,
            "width": sample.stored_size[0],
            "height": sample.stored_size[1],
            "sha256": entry.sha256,
            "why": why,
            "unconfirmed_boxes": json.dumps(sample.unconfirmed_boxes),
        }
        for (frame_id, sample, why), entry in zip(chosen, written.entries, strict=True)
    ]
    write_parquet(root / part, pa.Table.from_pylist(rows, TABLES["private_frames"]), durable=False)
    return PrivatePack(path=path, num_bytes=written.num_bytes, num_frames=len(rows), part=part)


def erase_pictures(pack: Path, places: Sequence[tuple[int, int]], *, is_whole: bool) -> int:
    """Overwrite pictures of a private pack with zeros, and delete the pack if they are all that it holds; returns how many were there yet.

    A picture's first two bytes go last: as long as they are there, an interrupted erasure is seen to be unfinished.

    Args:
        pack: the tar; one that is gone is no error.
        places: byte offset and size of each picture.
        is_whole: whether no other picture is in the pack.
    """
    if not pack.exists():
        return 0
    num_erased = 0
    with pack.open("r+b") as file:
        for offset, size in places:
            file.seek(offset)
            if file.read(2) == b"\0\0":
                continue
            file.seek(offset + 2)
            file.write(bytes(size - 2))
            file.flush()
            file.seek(offset)
            file.write(b"\0\0")
            num_erased += 1
        file.flush()
        os.fsync(file.fileno())
    if is_whole:
        pack.unlink(missing_ok=True)
    return num_erased

"""The order in which an epoch takes the samples: as few frames of one moment in a batch as the data allows.

Frames of one video, in the order of time, are dealt to the epoch's batches in turn, like cards to
players. Two frames of a video are then in one batch only if as many frames as there are batches lie
between them, and no deal can do better. A batch also has its share of every video. What is random:
the order of the videos, where in its video the deal begins, the order of the batches, and that of
the samples in each.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pretrain.config import NEAR_S

__all__ = ["Footage", "deal", "deal_epoch", "moments", "near_in_batch", "read_footage", "warn_of_near_frames"]

_log = logging.getLogger(__name__)

_READ_ROWS = 1 << 18
_CLIP_US = 6_000_000  # just farther apart than NEAR_S
_TIME_PATTERN = r"-(?P<us>[0-9]{1,18})$"  # a frame's id ends with its time in its video in microseconds


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """Which samples are frames of one video, in the order of time."""

    samples: NDArray[np.uint32]
    """(samples,) video after video, each in the order of time"""
    first: NDArray[np.int64]
    """(videos + 1,) where each video begins in `samples`; the last is their number"""
    times_us: NDArray[np.int64]
    """(samples,) time in the video of each of `samples`"""


def read_footage(samples_path: Path) -> Footage | None:
    """The footage that a `samples.parquet` describes by `video_id` and the end of `frame_id`, or `clip_id`; None if it has not both.

    Ten million rows take about 17 s, and 0.4 GB at the most, 0.12 of which stay.
    """
    file = pq.ParquetFile(samples_path, read_dictionary=["video_id"])
    names = set(file.schema_arrow.names)
    sample_id = "frame_id" if "frame_id" in names else "clip_id"
    if not {"position", "video_id", sample_id} <= names:
        return None
    num_samples = file.metadata.num_rows
    videos = np.empty(num_samples, np.uint32)
    times_us = np.empty(num_samples, np.int64)
    numbers: dict[str, int] = {}
    for batch in file.iter_batches(batch_size=_READ_ROWS, columns=["position", "video_id", sample_id]):
        positions = batch["position"].to_numpy()
        # ids of clips tell no time: they come to lie in the order of the dataset, none near another
        times = _times_us(batch[sample_id]) if sample_id == "frame_id" else positions * _CLIP_US
        if times is None or batch["video_id"].null_count:
            return None
        found = batch["video_id"]
        codes = np.array([numbers.setdefault(name, len(numbers)) for name in found.dictionary.to_pylist()], np.uint32)
        videos[positions] = codes[found.indices.to_numpy()]
        times_us[positions] = times
    by_name = np.empty(len(numbers), np.uint32)  # numbers that depend on no reader of Parquet
    by_name[[numbers[name] for name in sorted(numbers)]] = np.arange(len(numbers))
    videos = by_name[videos]
    by_time = np.lexsort((times_us, videos)).astype(np.uint32)
    counts = np.bincount(videos, minlength=len(numbers))
    return Footage(by_time, np.concatenate([[0], counts.cumsum()]), times_us[by_time])


def moments(footage: Footage) -> NDArray[np.int32]:
    """(samples, 2): number of each sample's video, and milliseconds from its start."""
    found = np.empty((len(footage.samples), 2), np.int32)
    found[footage.samples, 0] = np.repeat(np.arange(len(footage.first) - 1), np.diff(footage.first))
    found[footage.samples, 1] = footage.times_us // 1000
    return found


def _times_us(frame_ids: pa.StringArray) -> NDArray[np.int64] | None:
    """(ids,) the number after the last hyphen of each; None if one has none."""
    if len(frame_ids) == 0:
        return np.empty(0, np.int64)
    length = len(frame_ids[0].as_py().rpartition("-")[2])
    digits = pc.utf8_slice_codeunits(frame_ids, -length) if length else frame_ids
    before = pc.utf8_slice_codeunits(frame_ids, -length - 1, -length) if length else frame_ids
    if length <= 18 and pc.all(pc.equal(before, "-")).as_py() and pc.all(pc.ascii_is_decimal(digits)).as_py():
        found = digits  # all of one length, as curation writes them
    else:
        found = pc.struct_field(pc.extract_regex(frame_ids, _TIME_PATTERN), "us")
    return None if found.null_count else np.asarray(found.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def deal_epoch(footage: Footage | None, *, num_samples: int, batch_size: int, seed: int, epoch: int) -> NDArray[np.uint32]:
    """The samples of an epoch, batch after batch; it follows from the arguments alone.

    Ten million samples take about 1 s, and 0.4 GB at the most, 0.04 of which stay.

    Args:
        footage: of the dataset; without it, the order is a mere permutation.
        num_samples: of the dataset.
        batch_size: global.
        seed: of the run.
        epoch: 0 for the first.

    Returns:
        (batches * batch_size,); what is left over, fewer samples than a batch, is drawn anew each epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    num_batches = num_samples // batch_size
    num_dealt = num_batches * batch_size
    if footage is None:
        return rng.permutation(np.arange(num_samples, dtype=np.uint32))[:num_dealt]
    is_dealt = np.ones(num_samples, bool)
    is_dealt[rng.choice(num_samples, num_samples - num_dealt, replace=False, shuffle=False)] = False
    counts = np.add.reduceat(is_dealt, footage.first[:-1], dtype=np.int64)
    return deal(footage.samples[is_dealt], counts, num_batches=num_batches, rng=rng)


def deal(samples: NDArray[np.uint32], counts: NDArray[np.int64], *, num_batches: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Deal samples to batches of equal size, those of each video in turn.

    Args:
        samples: video after video, each in the order of time; a multiple of `num_batches`.
        counts: (videos,) how many are of each.
        num_batches: that they are dealt to.
        rng: source of every draw.

    Returns:
        The samples, batch after batch.
    """
    shuffled = rng.permutation(len(counts))
    begins = np.empty_like(counts)  # the first card of each video
    begins[shuffled] = counts[shuffled].cumsum() - counts[shuffled]
    # A video is dealt from any frame on, end joined to start, or videos of equal length would keep step with each other. Where that could
    # put its end and its start into one batch, its length is no multiple of the number of batches, and keeps no step.
    turned = np.where((counts <= num_batches) | (counts % num_batches == 0), (rng.random(len(counts)) * counts).astype(np.int64), 0)
    own_first = counts.cumsum() - counts
    cards = np.arange(len(samples), dtype=np.int64)
    cards += np.repeat(turned - own_first, counts)  # place in the own video, turned
    cards -= np.repeat(counts, counts) * (cards >= np.repeat(counts, counts))
    cards += np.repeat(begins, counts)
    rows, batches = np.divmod(cards, num_batches)
    del cards
    places = rng.permutation(num_batches)[batches] * (len(samples) // num_batches)
    del batches
    places += rows
    order = np.empty(len(samples), np.uint32)
    order[places] = samples
    return order


def near_in_batch(footage: Footage, *, num_batches: int, near_s: float = NEAR_S) -> tuple[int, int]:
    """Samples that share a batch with a near frame of their video in some epoch whatever the order, and the most in one clip.

    Args:
        footage: of the dataset.
        num_batches: of an epoch.
        near_s: seconds.
    """
    near_us = round(near_s * 1e6)
    num_near, most = 0, 1
    for first, last in zip(footage.first[:-1].tolist(), footage.first[1:].tolist(), strict=True):
        if last - first <= num_batches:
            continue
        times = footage.times_us[first:last]
        in_reach = np.searchsorted(times, times + near_us) - np.arange(last - first)
        most = max(most, int(in_reach.max()))
        is_near = times[num_batches:] - times[:-num_batches] < near_us
        both = np.zeros(last - first, bool)
        both[num_batches:] = is_near
        both[:-num_batches] |= is_near
        num_near += int(both.sum())
    return num_near, most


def warn_of_near_frames(
    footage: Footage | None, *, num_samples: int, batch_size: int, where: str, windows: Sequence[tuple[Footage, int]] | None = None
) -> None:
    """Say once that frames of one clip must share batches, or that nothing is known of clips.

    Args:
        footage: of the dataset.
        num_samples: of the dataset.
        batch_size: global.
        where: the dataset, for the message.
        windows: footage and number of batches of each part of the first epoch that is dealt by itself; the epoch as a whole if not given.
    """
    if footage is None:
        _log.warning("%s does not say which frames are of one video, and when: a batch may hold several frames of one clip", where)
        return
    num_batches = num_samples // batch_size
    found = [near_in_batch(part, num_batches=count) for part, count in windows or [(footage, num_batches)]]
    num_near, most = sum(near for near, _ in found), max(most for _, most in found)
    if num_near:
        remedy = "a larger data.window_images or a smaller batch" if windows else "a smaller batch or a selection with fewer frames a video"
        _log.warning(
            "%d of %d frames of %s share batches with frames of their video less than %g s away: up to %d lie so near, and %s has "
            "%d batches of %d; %s avoids it",
            num_near, num_samples, where, NEAR_S, most, "a window" if windows else "an epoch",
            max(count for _, count in windows) if windows else num_batches, batch_size, remedy,
        )  # fmt: skip

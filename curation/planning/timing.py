"""How fast this machine is: the kernels of curation, each timed on a little made-up work."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from curation.clustering import assign
from curation.dedup import closest_before, hash_tables
from curation.embedding import EmbedConfig, batch_size_on, embed_images, load_encoder
from curation.planning.cost import Rates
from curation.selection import balanced_order

__all__ = ["calibrate", "loaded"]

_POINTS, _CENTROIDS, _COMPARED, _ORDERED, _HASHES = 4096, 1024, 2048, 50_000, 20_000
_COPIED_BYTES = 32 << 20


def calibrate(
    *,
    num_workers: int,
    start_s: float,
    load_s: float,
    dim: int,
    hash_radius: int,
    jpegs: Sequence[bytes],
    encoder: EmbedConfig | None,
    seed: int = 0,
) -> Rates:
    """Time each kernel for well under a second.

    Args:
        num_workers: recorded with the rates; workers are taken to be as fast side by side as one is alone.
        start_s: until the workers have started, measured with them; recorded too.
        load_s: until they have loaded the encoder, the same.
        dim: of the vectors.
        hash_radius: bits up to which look-alikes are to be searched.
        jpegs: frames to embed, at least one if `encoder` is given; they are taken in turn.
        encoder: to be timed; None where no frame is to be embedded.
        seed: of the made-up points.
    """
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((_POINTS, dim), dtype=np.float32)
    assign_s = _seconds(lambda: assign(points, points[:_CENTROIDS]))
    with threadpool_limits(1):
        compare_s = _seconds(lambda: points[:_COMPARED] @ points[_COMPARED:].T)
    hashes = rng.integers(0, 1 << 63, _HASHES, dtype=np.uint64)
    mask = hash_tables(hash_radius)[0]
    hash_s = _seconds(lambda: closest_before(hashes, mask, radius=hash_radius))
    leaf = rng.integers(0, _ORDERED // 6, _ORDERED)
    paths, priority = np.stack([leaf, leaf // 2, leaf // 4, leaf // 8], axis=1), rng.random(_ORDERED)
    order_s = _seconds(lambda: balanced_order(paths, priority=priority, seed=seed))
    return Rates(
        num_workers=num_workers,
        start_s=start_s,
        load_s=load_s,
        encode_s=_encode_s(encoder, jpegs) if encoder else 0.0,
        assign_flops=2 * dim * _POINTS * _CENTROIDS / assign_s,
        compare_flops=2 * dim * _COMPARED * (_POINTS - _COMPARED) / compare_s,
        hash_s=hash_s / _HASHES,
        order_s=order_s / _ORDERED,
        copy_bytes=_COPIED_BYTES / _seconds(lambda: _copy(rng.bytes(1 << 20))),
    )


def loaded(number: int, *, encoder: EmbedConfig) -> int:
    """Done by a worker as soon as it has loaded the encoder."""
    load_encoder(encoder)
    return number


def _encode_s(config: EmbedConfig, jpegs: Sequence[bytes]) -> float:
    """Seconds a frame; on a CPU of its core, for beside other workers there is none left over for decoding."""
    encoder = load_encoder(config)
    batch = batch_size_on(encoder.device, config)
    images = [jpegs[number % len(jpegs)] for number in range(batch)]
    clock = time.process_time if encoder.device.type == "cpu" else time.perf_counter
    return _seconds(lambda: embed_images(iter(images), encoder, batch_size=batch), clock=clock) / batch


def _copy(piece: bytes) -> None:
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        for _ in range(_COPIED_BYTES // len(piece)):
            digest.update(piece)
            file.write(piece)


def _seconds(kernel: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """The faster of two calls: the first also warms up."""
    taken = []
    for _ in range(2):
        start = clock()
        kernel()
        taken.append(clock() - start)
    return max(min(taken), 1e-9)

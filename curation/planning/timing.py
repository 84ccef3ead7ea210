"""Seconds that a unit of work takes on this machine: a kernel of curation, timed on a little made-up work, or an assumption."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from curation.clustering import assign, num_faiss_gpus
from curation.embedding import EmbedConfig, batch_size_on, embed_images, load_encoder
from curation.planning.cost import Rate, Unit

__all__ = ["unit_rate"]

_POINTS, _CENTROIDS = 4096, 1024
_ASSUMED_S: dict[Unit, float] = {"row": 1e-5, "byte": 1e-8}
"""Tables and copies depend most on the disk, which is not written to here."""


def unit_rate(unit: Unit, *, dim: int, encoder: EmbedConfig, jpegs: Sequence[bytes]) -> Rate:
    """The rate of one core, timed in seconds or assumed.

    Vectors have `dim` numbers. The encoder is loaded only to time a frame, for which there must be a JPEG.
    """
    if unit == "frame":
        return Rate(unit_s=_encode_s(encoder, jpegs), source="timed here")
    if unit == "operation":
        points = np.random.default_rng(0).standard_normal((_POINTS, dim), dtype=np.float32)
        with threadpool_limits(1):
            assign_s = _seconds(lambda: assign(points, points[:_CENTROIDS]), on_gpu=num_faiss_gpus() > 0)
        return Rate(unit_s=assign_s / (2 * dim * _POINTS * _CENTROIDS), source="timed here")
    return Rate(unit_s=_ASSUMED_S[unit], source="assumed")


def _encode_s(config: EmbedConfig, jpegs: Sequence[bytes]) -> float:
    encoder = load_encoder(config)
    batch = batch_size_on(encoder.device, config)
    images = [jpegs[number % len(jpegs)] for number in range(batch)]
    return _seconds(lambda: embed_images(iter(images), encoder, batch_size=batch), on_gpu=encoder.device.type != "cpu") / batch


def _seconds(kernel: Callable[[], object], *, on_gpu: bool) -> float:
    """The faster of two calls: the first also warms up. On a CPU they are seconds of its cores, whatever else these do."""
    clock = time.perf_counter if on_gpu else time.process_time
    taken = []
    for _ in range(2):
        start = clock()
        kernel()
        taken.append(clock() - start)
    return max(min(taken), 1e-9)

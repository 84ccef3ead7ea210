"""A 64-bit perceptual hash, and runs of near-identical frames.

The hash is the sign of the 8x8 lowest frequencies of a 32x32 DCT against their median: ten lines of our own instead of the imagehash
package, because that goes through Pillow and SciPy (2.6 times slower here) and cannot leave out what is outside the content area.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["hamming", "near_duplicate_runs", "perceptual_hash"]


def perceptual_hash(gray: np.ndarray, mask: np.ndarray) -> int:
    """Hash a [height, width] uint8 picture; pixels outside the mask count as the mean inside it.

    Returns:
        64 bits; pictures that look alike differ in few of them.
    """
    filled = gray
    if mask.min() == 0:
        filled = gray.copy()
        filled[mask == 0] = round(cv2.mean(gray, mask)[0])
    small = cv2.resize(filled, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming(first: int, second: int) -> int:
    """Number of differing bits."""
    return (first ^ second).bit_count()


def near_duplicate_runs(hashes: Sequence[int], max_distance: int) -> list[range]:
    """Split frames in time order into runs whose members are all within `max_distance` bits of the run's first.

    Compared with the first and not with the neighbour, because a slow drift would otherwise join a whole withdrawal into one run.
    """
    if not hashes:
        return []
    starts = [0]
    for position, value in enumerate(hashes):
        if hamming(value, hashes[starts[-1]]) > max_distance:
            starts.append(position)
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(hashes)], strict=True)]

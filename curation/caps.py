"""At most so many points of one patient, video, site or device, all caps at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["within_caps"]

Ints = npt.NDArray[np.int64]

_MOST_KINDS = 4
_ROWS = 1 << 16


def within_caps(order: Ints, groups: Sequence[tuple[npt.NDArray[np.integer], int]]) -> Ints:
    """Walk the points in their order and keep each for which all of its groups have room; returns those kept, in that order.

    Nothing that was left out could be added: some group of it is full. Where the kinds lie within each other, as videos in patients in
    sites, no other choice keeps more points (the greedy choice is a largest one in a laminar matroid); where they cross, as devices and
    patients may, one that keeps more can exist, of at most as many times the size as there are kinds (an intersection of matroids:
    Korte and Hausmann 1978).

    Args:
        order: (n,) the points, each once.
        groups: for each kind, up to four, the group of each point (n,), -1 where it is unknown and nothing is capped, and the cap.

    Raises:
        ValueError: there are more kinds, a cap is below 1, or groups do not fit the points.
    """
    if len(groups) > _MOST_KINDS:
        raise ValueError(f"got {len(groups)} kinds of groups, expected up to {_MOST_KINDS}")
    room = [_MOST_KINDS * len(order) + 1]  # that of "nothing is capped", which a point may take for each kind
    columns = []
    for codes, cap in groups:
        if cap < 1 or codes.shape != order.shape:
            raise ValueError(f"a cap of {cap} on groups of shape {codes.shape} does not fit {len(order)} points; give 1 or more, and (n,)")
        known = codes >= 0
        tight = np.flatnonzero(np.bincount(codes[known], minlength=1) > cap)  # the others never fill
        place = np.zeros(int(codes.max(initial=0)) + 2, np.int64)
        place[tight] = len(room) + np.arange(len(tight))
        room += [cap] * len(tight)
        columns.append(place[codes])  # -1 is the last, which is 0
    while len(columns) < _MOST_KINDS:
        columns.append(np.zeros(len(order), np.int64))
    contested = np.logical_or.reduce([column > 0 for column in columns])
    kept = ~contested
    rows = order[contested[order]]
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        chosen = []
        for row, a, b, c, d in zip(chunk.tolist(), *(column[chunk].tolist() for column in columns), strict=True):
            if room[a] and room[b] and room[c] and room[d]:
                room[a] -= 1
                room[b] -= 1
                room[c] -= 1
                room[d] -= 1
                chosen.append(row)
        kept[chosen] = True
    chosen_rows: Ints = order[kept[order]]
    return chosen_rows

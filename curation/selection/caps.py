"""At most so many points of one patient, video, site or device, all caps at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["within_caps"]

Ints = npt.NDArray[np.int64]

_ROWS = 1 << 16


def within_caps(order: Ints, groups: Sequence[tuple[npt.NDArray[np.integer], int]]) -> Ints:
    """Walk the points in their order and keep each for which all of its groups have room; returns those kept, in that order.

    Nothing that was left out could be added: some group of it is full. Where the kinds lie within each other, as videos in patients in
    sites, no other choice keeps more points (the greedy choice is a largest one in a laminar matroid); where they cross, as devices and
    patients may, or a point has several groups of a kind, one that keeps more can exist, of at most as many times the size as a point has
    groups (an intersection of matroids: Korte and Hausmann 1978).

    Args:
        order: (n,) the points, each once.
        groups: for each kind the groups of each point and the cap: (n,), or (n, m) if a point may have up to m of them and counts for each;
            -1 where there is none.

    Raises:
        ValueError: a cap is below 1, or groups do not fit the points.
    """
    room = [1]  # place 0 stands for no cap
    columns = []
    for codes, cap in groups:
        if cap < 1 or codes.shape[0] != len(order) or codes.ndim > 2:
            raise ValueError(f"a cap of {cap} on groups of shape {codes.shape} does not fit {len(order)} points; give 1 or more, and (n,)")
        tight = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=1) > cap)  # the others never fill
        place = np.zeros(int(codes.max(initial=0)) + 2, np.int64)
        place[tight] = len(room) + np.arange(len(tight))
        room += [cap] * len(tight)
        columns += list(place[codes.reshape(len(order), -1)].T)  # -1 is the last, which is 0
    contested = np.logical_or.reduce([column > 0 for column in columns]) if columns else np.zeros(len(order), bool)
    kept = ~contested
    rows = order[contested[order]]
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        kept[_with_room(chunk, [column[chunk] for column in columns], room)] = True
    chosen_rows: Ints = order[kept[order]]
    return chosen_rows


def _with_room(rows: Ints, places: Sequence[Ints], room: list[int]) -> list[int]:
    """Those of the rows for which there is room in all of their places; it is taken from `room`, but for place 0, which has no end."""
    chosen = []
    if len(places) == 1:
        for row, place in zip(rows.tolist(), places[0].tolist(), strict=True):
            if room[place]:
                room[place] -= 1
                chosen.append(row)
        return chosen
    for row, *taken in zip(rows.tolist(), *(column.tolist() for column in places), strict=True):
        if all(map(room.__getitem__, taken)):
            for place in taken:
                if place:
                    room[place] -= 1
            chosen.append(row)
    return chosen

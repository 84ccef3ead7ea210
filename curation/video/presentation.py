"""When each decoded frame is shown, and as which: looked up in the index by the number of its packet."""

from __future__ import annotations

import numpy as np

from curation.video.packet_index import PacketIndex

__all__ = ["Presentation"]


class Presentation:
    """Positions and times of frames that are asked for in presentation order."""

    def __init__(self, index: PacketIndex) -> None:
        order = np.argsort(index.pts, kind="stable")
        self._times = index.pts[order]
        self._entry_of = {int(number): entry for entry, number in enumerate(index.number)}
        self._position_of = np.empty(len(order), np.int64)
        self._position_of[order] = np.arange(len(order))
        self._index = index
        self._last = -1

    @property
    def first(self) -> int:
        """Time of the frame shown first, in ticks."""
        return int(self._times[0])

    def position(self, number: int | None, *, keyframes: bool = False) -> int | None:
        """Position of a frame among all that are shown; None where the index does not know its packet.

        A file that has decoding times alone gives them to frames in the order in which these are shown. Every keyframe that nothing
        reaches across starts the count again, so that frames lost to damage shift no others behind it.
        """
        entry = None if number is None else self._entry_of.get(number)
        if not self._index.is_decoding_order:
            return None if entry is None else int(self._position_of[entry])
        is_certain = entry is not None and (keyframes or bool(self._index.is_entry[entry]))
        self._last = entry if is_certain and entry is not None else min(self._last + 1, len(self._times) - 1)
        return self._last

    def ticks(self, position: int) -> int:
        """Time of a position, in ticks from the frame shown first."""
        return int(self._times[position]) - self.first

"""When each decoded frame is shown, and as which: looked up in the index by the number of its packet."""

from __future__ import annotations

import numpy as np

from curation.video.packet_index import PacketIndex

__all__ = ["Presentation"]

_JITTER_S = 1
"""a frame that is shown this much before its predecessor is placed directly behind it: recordings may overlap where they were joined"""


class Presentation:
    """Places in the film of frames that are asked for in the order in which a decoder shows them.

    Attributes:
        num_backward: frames that came long before their predecessor, and have no place.
        num_nudged: frames that came a little before it, and were placed directly behind it.
    """

    def __init__(self, index: PacketIndex, *, frame_ticks: int, keyframes: bool) -> None:
        """Start before the first frame; one of an unknown packet is taken to come `frame_ticks` after its predecessor."""
        order = np.argsort(index.pts, kind="stable")
        self._times = index.pts[order]
        self._entry_of = {int(number): entry for entry, number in enumerate(index.number)}
        self._position_of = np.empty(len(order), np.int64)
        self._position_of[order] = np.arange(len(order))
        self._index, self._keyframes, self._frame_ticks = index, keyframes, frame_ticks
        self._jitter = max(1, round(_JITTER_S / index.time_base))
        self._num_frames = 0
        self._position, self._ticks = -1, -1
        self._number: int | None = None
        self.num_backward = self.num_nudged = 0

    def place(self, number: int | None) -> tuple[int, int] | None:
        """Position of the next frame among all that are shown, and its time in ticks from the first, later than the one before.

        The frame's packet has the `number`, None if the decoder does not say. A frame that comes long before its predecessor has no place.
        """
        position = self._find(number)
        ticks = self._ticks + self._frame_ticks if position is None else int(self._times[position]) - int(self._times[0])
        is_repeated, self._number = number is not None and number == self._number, number
        self._num_frames += 1
        if ticks <= self._ticks:
            if is_repeated or self._ticks - ticks > self._jitter:
                self.num_backward += 1
                return None
            self.num_nudged += 1
            ticks = self._ticks + 1
        self._ticks = ticks
        return self._num_frames - 1 if position is None else position, ticks

    def _find(self, number: int | None) -> int | None:
        """Position of a frame among all that are shown; None if the index does not know its packet.

        A file that has decoding times alone gives them to frames in the order in which these are shown. Every keyframe that nothing
        reaches across starts the count again, so that frames lost to damage shift no others behind it.
        """
        entry = None if number is None else self._entry_of.get(number)
        if not self._index.is_decoding_order:
            return None if entry is None else int(self._position_of[entry])
        is_certain = entry is not None and (self._keyframes or bool(self._index.is_entry[entry]))
        self._position = entry if is_certain and entry is not None else min(self._position + 1, len(self._times) - 1)
        return self._position

"""Which frames one worker embeds in one stream: groups of whole batches, large at first and small at last.

The stream of all packs' frames is cut where a batch is full, inside a pack where need be: no batch is filled up with black but the very
last, one long video keeps all workers busy, and the small groups at the end let them finish together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.records import FramePack

__all__ = ["PackGroup", "PackSlice", "group_packs", "whole_packs"]

_MOST_FRAMES = 1024
_LEAST_BATCHES = 2
_SHARES = 16
"""a group takes this part of the frames that are left, so the last groups of as many workers as half of this are small beside the whole"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSlice:
    """Frames `start` to `stop` of a pack, in its order."""

    pack: FramePack
    start: int
    stop: int

    @property
    def is_partial(self) -> bool:
        """Whether the pack has frames outside."""
        return self.stop - self.start < self.pack.num_frames


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PackGroup:
    """Slices that one worker embeds in one stream."""

    slices: tuple[PackSlice, ...]

    @property
    def num_frames(self) -> int:
        """Of all slices."""
        return sum(piece.stop - piece.start for piece in self.slices)

    def __repr__(self) -> str:
        return f"{self.num_frames} frames" + (f" from frame {self.slices[0].start} of {self.slices[0].pack.path} on" if self.slices else "")


def whole_packs(packs: Sequence[FramePack]) -> PackGroup:
    """All frames of some packs as one group."""
    return PackGroup(slices=tuple(PackSlice(pack=pack, start=0, stop=pack.num_frames) for pack in packs))


def group_packs(packs: Sequence[FramePack], *, batch_size: int) -> list[PackGroup]:
    """All frames of the packs, in order, in groups of whole batches; an empty pack stands in one group too."""
    left = sum(pack.num_frames for pack in packs)
    groups: list[PackGroup] = []
    slices: list[PackSlice] = []
    room = _size(left, batch_size)
    for pack in packs:
        start = 0
        while True:
            stop = min(pack.num_frames, start + room)
            slices.append(PackSlice(pack=pack, start=start, stop=stop))
            left, room, start = left - (stop - start), room - (stop - start), stop
            if room == 0:
                groups.append(PackGroup(slices=tuple(slices)))
                slices, room = [], _size(left, batch_size)
            if start == pack.num_frames:
                break
    return [*groups, PackGroup(slices=tuple(slices))] if slices else groups


def _size(left: int, batch_size: int) -> int:
    batches = min(_MOST_FRAMES, left // _SHARES) // batch_size
    return max(_LEAST_BATCHES, batches) * batch_size

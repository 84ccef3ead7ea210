"""Which frames of a video are damaged, in decoding order."""

from __future__ import annotations

from av.video.frame import VideoFrame

from curation.video.sampling import MAX_MESSAGES

__all__ = ["DamageMap"]


class DamageMap:
    """Frames from the first error in a group of pictures to its end, packets being known by their number in the file.

    A damaged frame is the reference of the ones after it, which decode without complaint; only a keyframe starts clean.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._group = 0
        self._number = -1
        self._group_of: dict[int, int] = {}
        self._first_error: dict[int, int] = {}

    def enter(self, number: int, *, is_keyframe: bool) -> None:
        """Note that a packet goes into the decoder."""
        self._number = number
        self._group += is_keyframe
        self._group_of[number] = self._group
        if is_keyframe:  # of frames that are left out nobody asks
            self._group_of = {other: group for other, group in self._group_of.items() if group >= self._group - 2}

    def log(self, messages: list[str]) -> None:
        """Note what went wrong with the packet entered last."""
        self._first_error.setdefault(self._group, self._number)
        for message in messages:
            if len(self.messages) < MAX_MESSAGES and message not in self.messages:
                self.messages.append(message)

    def covers(self, frame: VideoFrame) -> bool:
        """Whether a frame, which bears the number of its packet as its time, is damaged."""
        number = self._number if frame.pts is None else frame.pts
        group = self._group_of.pop(number, self._group)
        if frame.is_corrupt:
            self._first_error[group] = min(number, self._first_error.get(group, number))
        for old in [past for past in self._first_error if past < group - 2]:
            del self._first_error[old]
        return group in self._first_error and number >= self._first_error[group]

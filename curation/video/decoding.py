"""Frames of a video by PyAV, as the decoder gives them: each with the number of its packet and whether it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.video.damage_map import DamageMap
from curation.video.packets import stream_packets
from curation.video.sampling import log_line
from curation.video.skipping import NON_REFERENCE_CODECS

__all__ = ["Choice", "DecodedFrame", "decoded_frames", "logged_errors"]

# PyAV drops a log line that repeats the last one, be that of another video: whether damage is seen would depend on what was read before
av.logging.set_skip_repeated(False)

_FAILURES = (FFmpegError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError)
"""what a packet can provoke in PyAV; it must not cost the packets behind it"""

Skip = Literal["ALL", "NONREF", "NONKEY", "DEFAULT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which packets are decoded; packets are known by their number in the file."""

    keyframes: bool = False
    """only keyframes are decoded"""
    wanted: frozenset[int] | None = None
    """packets of the samples: of the others only those are decoded that some sample may be predicted from; None if all are decoded"""
    past: frozenset[int] = frozenset()
    """packets that no sample can be predicted from"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFrame:
    """One frame in the order of presentation."""

    frame: VideoFrame
    number: int | None
    """of its packet among those of the stream; None where the decoder does not say"""
    is_corrupt: bool
    """damaged itself, or predicted from a damaged frame"""


def decoded_frames(container: InputContainer, stream: VideoStream, damage: DamageMap, choice: Choice) -> Iterator[DecodedFrame]:
    """Decode in presentation order; whatever goes wrong with a packet goes to `damage`, never up.

    Every frame is decoded from the first sign of damage or of interlacing on, whatever the choice: neighbours count there.
    """
    skipping = _Skipping(stream, choice)
    faults: list[str] = []
    packets = enumerate(stream_packets(container, stream, faults))
    is_last = False
    while not is_last:
        frames: list[VideoFrame] = []
        is_flagged = False
        num_faults = len(faults)
        failures: list[str] = []
        with logged_errors() as logged:
            try:
                number, packet = next(packets, (0, None))
                while packet is not None and skipping.passes_over(number, packet):
                    is_flagged |= packet.is_corrupt
                    number, packet = next(packets, (0, None))
                if packet is None:
                    is_last = True
                    skipping.take_all()
                    frames = stream.codec_context.decode(None)
                else:
                    is_flagged |= packet.is_corrupt
                    damage.enter(number, is_keyframe=packet.is_keyframe)
                    skipping.prepare(number, packet)
                    packet.pts = packet.dts = number
                    frames = stream.codec_context.decode(packet)
            except _FAILURES as failure:
                failures.append(log_line(getattr(failure, "strerror", None) or f"{type(failure).__name__}: {failure}"))
        failures += faults[num_faults:] + logged
        if failures or is_flagged:
            damage.log(failures or ["a packet is flagged corrupt"])
        if failures or any(frame.interlaced_frame for frame in frames):
            skipping.end()
        for frame in frames:
            yield DecodedFrame(frame=frame, number=frame.pts, is_corrupt=damage.covers(frame))


@contextmanager
def logged_errors() -> Iterator[list[str]]:
    """What decoders log as errors meanwhile, a line each; filled at the end."""
    errors: list[str] = []
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as log:
            yield errors
            errors += [log_line(message) for level, _, message in log if level <= av.logging.ERROR]
    finally:
        av.logging.set_level(before)


class _Skipping:
    """The decoder's own skipping of frames, set for each packet."""

    def __init__(self, stream: VideoStream, choice: Choice) -> None:
        takes_reference_flag = stream.codec.canonical_name in NON_REFERENCE_CODECS
        self._context = stream.codec_context
        self._choice = choice
        self._is_on = choice.wanted is not None
        self._all: Skip = "NONKEY" if choice.keyframes else "DEFAULT"
        self._unwanted: Skip = "ALL" if choice.keyframes else "NONREF" if takes_reference_flag else "DEFAULT"
        self.take_all()

    def passes_over(self, number: int, packet: Packet[VideoStream]) -> bool:
        """Whether the decoder need not see a packet; keyframes it must, which may bring new parameters."""
        return not packet.is_keyframe and (self._choice.keyframes or (self._is_on and number in self._choice.past))

    def prepare(self, number: int, packet: Packet[VideoStream]) -> None:
        """What is skipped passes through the decoder all the same."""
        if self._is_on and self._choice.wanted is not None:
            is_wanted = number in self._choice.wanted
            self._context.skip_frame = self._all if is_wanted else "ALL" if number in self._choice.past else self._unwanted

    def end(self) -> None:
        """Take every frame from here on."""
        self._is_on = False
        self.take_all()

    def take_all(self) -> None:
        self._context.skip_frame = self._all

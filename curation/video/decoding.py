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
from curation.video.skipping import NON_REFERENCE_CODECS, Choice

__all__ = ["DecodedFrame", "decoded_frames", "logged_errors"]

# PyAV drops a log line that repeats the last one, be that of another video: whether damage is seen would depend on what was read before
av.logging.set_skip_repeated(False)

_FAILURES = (FFmpegError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError)
"""what a packet can provoke in PyAV; it must not cost the packets behind it"""

Skip = Literal["ALL", "NONREF", "NONKEY", "DEFAULT"]


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
        failures: list[str] = []
        is_flagged = False
        num_faults = len(faults)
        with logged_errors() as logged:
            try:
                number, packet, is_flagged = _next_packet(packets, skipping)
                if packet is None:
                    is_last = True
                    skipping.prepare(None)
                else:
                    damage.enter(number, is_keyframe=packet.is_keyframe)
                    skipping.prepare(number)
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


def _next_packet(packets: Iterator[tuple[int, Packet[VideoStream]]], skipping: _Skipping) -> tuple[int, Packet[VideoStream] | None, bool]:
    """Number and content of the next packet for the decoder, None at the end; and whether it, or one passed over, is flagged corrupt."""
    is_flagged = False
    for number, packet in packets:
        is_flagged |= packet.is_corrupt
        if not skipping.passes_over(number, packet):
            return number, packet, is_flagged
    return 0, None, is_flagged


class _Skipping:
    """What is left out of decoding: packets that the decoder does not see, and frames that it skips itself."""

    def __init__(self, stream: VideoStream, choice: Choice) -> None:
        self._context, self._choice = stream.codec_context, choice
        self._tells_references = stream.codec.canonical_name in NON_REFERENCE_CODECS
        self.prepare(None)

    def passes_over(self, number: int, packet: Packet[VideoStream]) -> bool:
        """Whether the decoder need not see a packet; keyframes it must, which may bring new parameters."""
        return not packet.is_keyframe and (self._choice.keyframes or number in self._choice.past)

    def prepare(self, number: int | None) -> None:
        """Tell the decoder what to skip of the next packet, which passes through it all the same; None at the end."""
        self._context.skip_frame = self._skip(number)

    def _skip(self, number: int | None) -> Skip:
        wanted = self._choice.wanted
        if number is None or wanted is None or number in wanted:
            return "NONKEY" if self._choice.keyframes else "DEFAULT"
        if self._choice.keyframes or number in self._choice.past:
            return "ALL"
        return "NONREF" if self._tells_references else "DEFAULT"

    def end(self) -> None:
        """Take every frame from here on, or every keyframe."""
        self._choice = Choice(keyframes=self._choice.keyframes)
        self.prepare(None)

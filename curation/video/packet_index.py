"""When every frame of a video is shown, and which are keyframes: read from the packets alone, without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.stream import VideoStream

from curation.video.clock import continued
from curation.video.container import UnreadableVideo, frame_ticks, opened, track_note
from curation.video.file_ends import file_problems
from curation.video.keyframes import is_entry_point, parameter_sets
from curation.video.packets import stream_packets
from curation.video.upright import aspect_note

__all__ = ["PacketIndex", "index_packets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketIndex:
    """Presentation times of the video stream's packets, in ticks of the stream's time base, on one clock that never starts again."""

    time_base: Fraction
    pts: np.ndarray
    """[num_shown] int64 in decoding order, of the packets that are shown"""
    is_key: np.ndarray
    """[num_shown] bool in decoding order"""
    is_entry: npt.NDArray[np.bool_]
    """[num_shown] bool in decoding order: keyframes that are confirmed by their own bytes, see `curation.video.keyframes`"""
    number: npt.NDArray[np.int64]
    """[num_shown] number of the packet among all packets of the stream, from 0"""
    has_damage: bool
    """some packet has no timestamp or is flagged corrupt"""
    has_hidden: bool
    """some packet is not to be shown, by an edit list"""
    has_changes: bool
    """the pictures may change their size in mid-stream: parameters come that differ from those before"""
    is_decoding_order: bool
    """the times may be those of decoding (AVI has no others): frames take them in the order in which a decoder shows them"""
    num_restarts: int
    """how often the timestamps of the file start again"""
    error: str | None
    """why reading stopped before the end of the file, or went on behind a fault"""
    problems: tuple[str, ...]
    """what of the file was not read or is damaged, in sentences"""
    notes: tuple[str, ...]
    """what a user should know of how the file is read, in sentences"""


def index_packets(path: str, *, max_packets: int | None = None) -> PacketIndex:
    """Timestamps and keyframe flags of every packet, read without decoding (microseconds a packet).

    Raises:
        UnreadableVideo: the file cannot be opened, or holds more than `max_packets`.
    """
    errors: list[str] = []
    with opened(path) as (container, stream):
        seen = _Seen(stream)
        for number, packet in enumerate(stream_packets(container, stream, errors)):
            if max_packets is not None and number >= max_packets:
                raise UnreadableVideo("too_long", f"it has more frames than max_frames={max_packets}; raise the limit to take them")
            seen.add(packet)
        time_base = stream.time_base or Fraction(1, 1_000_000)
        ticks = frame_ticks(stream)
        notes = [track_note(container, stream), aspect_note(stream)]
        has_b_frames = bool(stream.codec_context.has_b_frames)
        problems = file_problems(path, container.format.name, stream.id)
        # MP4 and Matroska have times of presentation; in a file copied from one without, those equal the times of decoding
        has_places = any(name in container.format.name.split(",") for name in ("mp4", "matroska"))
        has_own_times = has_places and any(pts != dts for pts, dts in zip(seen.pts, seen.dts, strict=True))
    shown = np.flatnonzero(~np.array(seen.is_hidden, bool))
    clock = continued([seen.pts[place] for place in shown], [seen.dts[place] for place in shown], time_base=time_base, frame_ticks=ticks)
    if clock.num_restarts:
        notes.append(f"the timestamps start again {clock.num_restarts} times, as in joined recordings; what follows is placed behind")
    if clock.num_replaced:
        problems.append(f"{clock.num_replaced} timestamps are wild, and were interpolated")
    return PacketIndex(
        time_base=time_base,
        pts=clock.pts,
        is_key=np.array(seen.is_key, bool)[shown],
        is_entry=np.array(seen.is_entry, bool)[shown],
        number=shown,
        has_damage=seen.has_damage,
        has_hidden=len(shown) < len(seen.pts),
        has_changes=len(seen.parameters) > 1,
        is_decoding_order=has_b_frames and not has_own_times and bool((np.diff(clock.pts) > 0).all()),
        num_restarts=clock.num_restarts,
        error="; ".join(dict.fromkeys(errors)) or None,
        problems=tuple(problems),
        notes=tuple(note for note in notes if note),
    )


class _Seen:
    """What the packets say, one entry a packet."""

    def __init__(self, stream: VideoStream) -> None:
        self.pts: list[int | None] = []
        self.dts: list[int | None] = []
        self.is_key: list[bool] = []
        self.is_entry: list[bool] = []
        self.is_hidden: list[bool] = []
        self.has_damage = False
        self._codec, self._extradata = stream.codec.canonical_name, stream.codec_context.extradata
        self.parameters: set[bytes] = set()

    def add(self, packet: Packet[VideoStream]) -> None:
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.is_key.append(packet.is_keyframe)
        self.is_hidden.append(packet.is_discard)
        self.has_damage |= packet.pts is None or packet.is_corrupt
        content = bytes(packet) if packet.is_keyframe else b""
        self.is_entry.append(packet.is_keyframe and is_entry_point(self._codec, content, self._extradata))
        if packet.has_sidedata("new_extradata"):
            self.parameters |= {b"first", b"changed"}
        if packet.is_keyframe:
            self.parameters.update(parameter_sets(self._codec, content, self._extradata))

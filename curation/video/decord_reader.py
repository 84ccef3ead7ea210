"""Frames by decord: used only where the packets prove it safe.

decord reads ahead without a bound, repeats neighbours of frames that it could not decode, and raises nothing for damaged bitstreams.
What is noticed while it runs, such as an entry in its FFmpeg's error log, raises `DecoderDisagreement`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av.logging
import numpy as np

from curation.video.container import is_unindexed, opened, tracks
from curation.video.overview import first_frames
from curation.video.packet_index import PacketIndex
from curation.video.sampling import (
    MAX_MESSAGES,
    DecoderDisagreement,
    DecodeReport,
    SampledFrame,
    due_frames,
    expected_frames,
    log_line,
    microseconds,
)
from curation.video.upright import is_as_coded, pixel_aspect

__all__ = ["sample_with_decord"]

_DECORD_MAX_BYTES = 256 << 20  # decord holds the compressed packets of the whole file
_DECORD_PACKET_BYTES = 256  # and its own record of each
_DECORD_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "mjpeg", "msmpeg4v3")


def sample_with_decord(path: str, fps: Fraction, report: DecodeReport, index: PacketIndex) -> Iterator[SampledFrame]:
    """See `curation.video.reader.sample_frames`; every frame where `fps` is 0."""
    wanted = due_frames(index, fps)
    objection = _objection_to_decord(path, index, len(wanted))
    if objection:
        raise DecoderDisagreement(objection)
    decord, log = _load_decord()
    failures = (RuntimeError, ValueError, AssertionError, decord.DECORDError)
    report.decoder, report.decoder_version = "decord", version("decord")
    log.clear()
    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    except failures as failure:
        raise DecoderDisagreement(f"decord cannot open the file: {failure}") from failure
    try:
        pts = np.sort(index.pts)
        if len(reader) != len(pts):
            raise DecoderDisagreement(f"decord counts {len(reader)} frames and the container holds {len(pts)}")
        for number in _frames_to_touch(wanted, index):
            try:
                rgb = reader.get_batch([number]).asnumpy()[0]
            except failures as failure:
                raise DecoderDisagreement(f"decord failed at frame {number}: {failure}", is_damage=True) from failure
            if log:
                break
            if number in wanted:
                yield SampledFrame(frame_index=number, pts_us=microseconds(int(pts[number] - pts[0]), index.time_base), rgb=rgb)
    finally:
        del reader  # joins its thread, which may log until then
    if log:
        raise DecoderDisagreement(f"decord's FFmpeg logged an error: {log[0]}", is_damage=True)
    report.num_frames_decoded = len(pts)  # the last frame of every group was asked for, and decord decodes all before it


def _frames_to_touch(wanted: set[int], index: PacketIndex) -> list[int]:
    """The samples and the last frame of every group of pictures.

    decord seeks where a group's end is left out. It reads ahead meanwhile, so whether damage there is logged would be a matter of timing.
    """
    last_of_group = np.append(np.flatnonzero(index.is_key)[1:], len(index.pts)) - 1
    return sorted(wanted.union(last_of_group.tolist()))


def _objection_to_decord(path: str, index: PacketIndex, num_wanted: int) -> str | None:
    """Why decord may not be used, from the packets alone; None where it may."""
    if index.has_damage or index.has_hidden or index.error or not len(index.pts):
        return "packets are damaged, hidden or without a timestamp"
    if index.problems or index.num_restarts or index.is_decoding_order:
        return "part of the file is not read, or its timestamps are not those of presentation"
    if index.has_changes:
        return "the pictures may change their size, and decord would squeeze them into the first"
    if os.path.getsize(path) + _DECORD_PACKET_BYTES * len(index.pts) > _DECORD_MAX_BYTES:
        return f"the file exceeds {_DECORD_MAX_BYTES} bytes, and decord would hold all of it in memory"
    keys = np.flatnonzero(index.is_key)
    if not len(keys) or keys[0] != 0 or len(np.unique(index.pts)) != len(index.pts):
        return "it does not begin with a keyframe, or timestamps repeat"
    # decord numbers keyframes in decoding order: right only where no frame is shown on the other side of its keyframe
    shown_before = np.maximum.accumulate(index.pts)[keys[1:] - 1] if len(keys) > 1 else np.array([], np.int64)
    shown_after = np.minimum.accumulate(index.pts[::-1])[::-1][keys]
    if (shown_before >= index.pts[keys[1:]]).any() or (shown_after < index.pts[keys]).any():
        return "its groups of pictures are open"
    if len(keys) > num_wanted:
        return "there are more keyframes than samples, and decord would convert a frame of every group"
    with opened(path) as (container, stream):
        if 4 * num_wanted > len(index.pts) and 3 * len(index.pts) * stream.width * stream.height > _DECORD_MAX_BYTES:
            return "decord queues what it decodes ahead without a bound, too much where most frames are wanted"
        if is_unindexed(container) or stream.codec.canonical_name not in _DECORD_CODECS:
            return f"decord is not reliable with {stream.codec.canonical_name} in {container.format.name}"
        if expected_frames(container, stream, index) > len(index.pts):
            return "the container declares more frames than it holds"
        if len(tracks(container)) > 1:
            return "there are several video tracks, and decord chooses by itself"
        frame = next(first_frames(container, stream), None)
        if frame is None:
            return "the first frame cannot be decoded"
        if not is_as_coded(frame) or frame.interlaced_frame or pixel_aspect(stream) != 1:
            return "the picture is rotated, mirrored or interlaced, or its pixels are not square"
    return None if _load_decord() else "decord is not installed, or its FFmpeg's error log cannot be read"


_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@functools.cache
def _load_decord() -> Any:
    """The decord module and the list to which its FFmpeg's errors go; None where either is missing.

    decord hides damage, but its FFmpeg logs it: the wheel's own libavutil is asked to call us instead of writing to stderr.
    """
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "20480")  # read when decord is loaded; too small and sound files fail
    try:
        import decord
    except (ImportError, OSError, RuntimeError):
        return None
    libraries = list((Path(decord.__file__).parent.parent / "decord.libs").glob("libavutil-*.so*"))
    if len(libraries) != 1:
        return None
    libavutil = ctypes.CDLL(str(libraries[0]))
    libavutil.av_log_set_callback.argtypes = [_LogCallback]
    libavutil.av_log_set_callback.restype = None
    format_line = libavutil.av_log_format_line2
    format_line.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_int),
    ]
    messages: list[str] = []

    def on_log(source: int, level: int, template: bytes, arguments: int) -> None:
        if level <= av.logging.ERROR and len(messages) < MAX_MESSAGES:
            line = ctypes.create_string_buffer(256)
            format_line(source, level, template, arguments, line, len(line), ctypes.byref(ctypes.c_int(1)))
            messages.append(log_line(line.value.decode(errors="replace")))

    callback = _LogCallback(on_log)
    libavutil.av_log_set_callback(callback)
    # a decoding thread that outlives the interpreter must not call into it
    default = ctypes.cast(libavutil.av_log_default_callback, _LogCallback)
    atexit.register(_restore_log, libavutil, default, callback)
    return decord, messages


def _restore_log(libavutil: ctypes.CDLL, default: object, ours: object) -> None:
    """Give the log back; `ours` is an argument only so that it lives until then."""
    libavutil.av_log_set_callback(default)

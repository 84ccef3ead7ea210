"""Video in, frames sampled in presentation time out.

PyAV first reads the packets' timestamps (no decoding); `choose_decoder` says which decoder is the quicker. decord is used only where the
packets prove it safe. Where it then raises `DecoderDisagreement`, start again with decoder="pyav".
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from curation.video.decord_reader import sample_with_decord
from curation.video.packet_index import PacketIndex, index_packets
from curation.video.pyav_reader import sample_with_pyav
from curation.video.sampling import Decoder, DecodeReport, SampledFrame, Sampling
from curation.video.skipping import share_left_out

__all__ = ["choose_decoder", "sample_frames"]


_WORTH_LEAVING_OUT = 0.1
_SMALL_BYTES = 16 << 20
"""a worker with decord was seen at 340 MB for a file of that size, 390 for one of 25 MB and 640 for one of 240; with PyAV at 280 for all"""


def choose_decoder(codec: str, num_bytes: int, sampling: Sampling, index: PacketIndex) -> Decoder:
    """PyAV where it can leave many frames out, where every frame is wanted, and where the file is large; else decord.

    Neither is quicker at a sparse rate where nothing is left out (tests/benchmarks/bench_ingest.py).
    """
    if sampling.keyframes or not sampling.fps or num_bytes > _SMALL_BYTES:
        return "pyav"
    leaves_out = share_left_out(codec, Fraction(sampling.fps).limit_denominator(100_000), index)
    return "pyav" if leaves_out > _WORTH_LEAVING_OUT else "decord"


def sample_frames(
    path: str,
    *,
    fps: float,
    keyframes: bool = False,
    decoder: Decoder = "decord",
    report: DecodeReport | None = None,
    index: PacketIndex | None = None,
    thorough: bool = False,
) -> Iterator[SampledFrame]:
    """Decode the first frame at or after every multiple of 1 / `fps` seconds; every frame where `fps` is 0.

    With `keyframes` the same among keyframes alone, by PyAV whatever `decoder` says: a twentieth of the work where they are a second apart.

    One thread, at most one decoded frame held, and every group of pictures entered at most once. PyAV leaves out what no sample needs
    (frames that no other is predicted from, the rest of a group of pictures after its last sample, groups without one), unless `thorough`:
    damage there is then not noticed.

    Raises:
        UnreadableVideo: the file cannot be opened.
        DecoderDisagreement: decord cannot be trusted with this file (only with decoder="decord").
    """
    report = report if report is not None else DecodeReport()
    index = index if index is not None else index_packets(path)
    rate = Fraction(fps).limit_denominator(100_000)
    if keyframes:
        return sample_with_pyav(path, rate, report, index, keyframes=True, thorough=thorough)
    if decoder == "decord":
        return sample_with_decord(path, rate, report, index)
    return sample_with_pyav(path, rate, report, index, thorough=thorough)

from .clip_encoding import decode_clip as decode_clip, encode_clip as encode_clip, nearest_frames as nearest_frames
from .container import UnreadableVideo as UnreadableVideo, VideoProbe as VideoProbe, probe as probe
from .dicom import extract_stream as extract_stream
from .excerpt import cut_excerpt as cut_excerpt
from .moments import duration_s as duration_s, frames_at as frames_at
from .overview import overview_frames as overview_frames
from .packet_index import PacketIndex as PacketIndex, index_packets as index_packets
from .reader import choose_decoder as choose_decoder, sample_frames as sample_frames
from .sampling import (
    AUTO_FPS as AUTO_FPS,
    MAX_MESSAGES as MAX_MESSAGES,
    Decoder as Decoder,
    DecoderDisagreement as DecoderDisagreement,
    DecodeReport as DecodeReport,
    SampledFrame as SampledFrame,
    Sampling as Sampling,
    choose_sampling as choose_sampling,
)
from .selfcheck import check_decoders as check_decoders
from .upright import shrunk_size as shrunk_size
from .writing import h264_writer as h264_writer

from .config import ClipConfig as ClipConfig
from .cut import (
    CLIPS_VERSION as CLIPS_VERSION,
    ClipVideo as ClipVideo,
    CutVideo as CutVideo,
    clip_key as clip_key,
    cut_key as cut_key,
    cut_video as cut_video,
    evidence_path as evidence_path,
)
from .filmstrip import Strip as Strip, clip_picture as clip_picture, write_filmstrip as write_filmstrip
from .vectors import (
    ClipVectors as ClipVectors,
    clip_encoder_id as clip_encoder_id,
    mean_vectors as mean_vectors,
    read_clip_vectors as read_clip_vectors,
)
from .windows import Moment as Moment

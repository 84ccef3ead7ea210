from .content_area import (
    ContentArea as ContentArea,
    content_mask as content_mask,
    find_content_area as find_content_area,
    full_area as full_area,
)
from .imaging_mode import (
    ALL_WARM as ALL_WARM,
    SURELY_WARM as SURELY_WARM,
    find_imaging_mode as find_imaging_mode,
    median_saturation as median_saturation,
    warm_share as warm_share,
)
from .phash import hamming as hamming, near_duplicate_runs as near_duplicate_runs, perceptual_hash as perceptual_hash
from .quality import (
    FILTER_WIDTH as FILTER_WIDTH,
    FrameQuality as FrameQuality,
    inner_mask as inner_mask,
    measure as measure,
    shrink as shrink,
    stool_shares as stool_shares,
)
from .tissue_structure import (
    SURELY_ROOM as SURELY_ROOM,
    room_evidence as room_evidence,
    room_scores as room_scores,
    structure_features as structure_features,
)

from .content_area import (
    ContentArea as ContentArea,
    content_mask as content_mask,
    find_content_area as find_content_area,
    full_area as full_area,
)
from .frame_filter import Floats as Floats, FrameFilter as FrameFilter, Picture as Picture
from .imaging_mode import (
    ALL_WARM as ALL_WARM,
    SURELY_WARM as SURELY_WARM,
    find_imaging_mode as find_imaging_mode,
    median_saturation as median_saturation,
    warm_share as warm_share,
)
from .phash import hamming as hamming, near_duplicate_runs as near_duplicate_runs, perceptual_hash as perceptual_hash
from .picture import FILTER_WIDTH as FILTER_WIDTH, inner_mask as inner_mask, shrink as shrink
from .registry import (
    FILTERS as FILTERS,
    FilterFailed as FilterFailed,
    frame_filters as frame_filters,
    measure as measure,
    score_names as score_names,
)
from .stool import stool_shares as stool_shares
from .thresholds import (
    FrameThresholds as FrameThresholds,
    filter_sentences as filter_sentences,
    filter_versions as filter_versions,
    installed_filters as installed_filters,
    named_values as named_values,
    settings_of as settings_of,
)
from .tissue_structure import (
    SURELY_ROOM as SURELY_ROOM,
    room_evidence as room_evidence,
    room_scores as room_scores,
    structure_features as structure_features,
)

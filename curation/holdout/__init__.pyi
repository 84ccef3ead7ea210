from .config import HoldoutConfig as HoldoutConfig
from .find import HOLDOUT_VERSION as HOLDOUT_VERSION, find_copies as find_copies
from .list import HoldoutError as HoldoutError, HoldoutList as HoldoutList, check_holdout as check_holdout, read_holdout as read_holdout
from .names import KnownVideo as KnownVideo, named_videos as named_videos
from .prepare import batches_of as batches_of, prepare_views as prepare_views
from .rows import read_copies as read_copies, reasons_by_video as reasons_by_video, settle_holdout as settle_holdout
from .search import (
    nearest_by_embedding as nearest_by_embedding,
    nothing_near as nothing_near,
    retrieval_similarity as retrieval_similarity,
)
from .verify_copy import (
    compare as compare,
    flipped as flipped,
    picture_correlation as picture_correlation,
    remembered_features as remembered_features,
)
from .views import content_of as content_of, stored_picture as stored_picture, views_of as views_of

from .config import DedupConfig as DedupConfig
from .dedup_clusters import (
    PROBED_CELLS as PROBED_CELLS,
    default_dedup_clusters as default_dedup_clusters,
    num_cells as num_cells,
    num_fitted as num_fitted,
)
from .deduplicate import DEDUP_VERSION as DEDUP_VERSION, decide_duplicates as decide_duplicates
from .near_hash import SHARE_HASHES as SHARE_HASHES, hash_tables as hash_tables
from .preview_sheet import (
    BorderPair as BorderPair,
    BorderRow as BorderRow,
    DedupSheet as DedupSheet,
    ThresholdCount as ThresholdCount,
    render_dedup_sheet as render_dedup_sheet,
    text_histogram as text_histogram,
)
from .similarity import (
    SIMILARITY_VERSION as SIMILARITY_VERSION,
    prepare_search as prepare_search,
    search_clusters as search_clusters,
    search_hashes as search_hashes,
)
from .similarity_rows import collect_similarities as collect_similarities

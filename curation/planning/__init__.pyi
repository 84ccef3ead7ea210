from .cost import (
    ENCODER_BYTES as ENCODER_BYTES,
    PROCESS_BYTES as PROCESS_BYTES,
    STAGE_S as STAGE_S,
    Cost as Cost,
    Rates as Rates,
    cluster_cost as cluster_cost,
    corrected as corrected,
    dedup_cost as dedup_cost,
    embed_cost as embed_cost,
    holdout_cost as holdout_cost,
    place_cost as place_cost,
    search_cost as search_cost,
    select_cost as select_cost,
    shard_cost as shard_cost,
    started as started,
)
from .timing import calibrate as calibrate, loaded as loaded

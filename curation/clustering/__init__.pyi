from .cluster import (
    CLUSTER_VERSION as CLUSTER_VERSION,
    PLACE_VERSION as PLACE_VERSION,
    cluster_frames as cluster_frames,
    place_frames as place_frames,
)
from .config import ClusterConfig as ClusterConfig
from .in_memory import fit_kmeans as fit_kmeans
from .nearest import Floats as Floats, Ints as Ints, assign as assign, assign_several as assign_several, num_faiss_gpus as num_faiss_gpus
from .out_of_core.block_pass import Block as Block, Map as Map, blocks_of as blocks_of
from .out_of_core.vector_groups import GroupedVectors as GroupedVectors, grouped as grouped
from .points import Level as Level
from .settings import (
    FitSettings as FitSettings,
    default_num_clusters as default_num_clusters,
    default_resample_sizes as default_resample_sizes,
)
from .splitting import (
    MAX_CELL_VALUES as MAX_CELL_VALUES,
    cell_seeds as cell_seeds,
    choose_num_splits as choose_num_splits,
    shares_by_size as shares_by_size,
)

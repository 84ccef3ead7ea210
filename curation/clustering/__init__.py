"""Clustering: hierarchical k-means with resampling over vectors in memory or on disk.

Vectors go in; a tree of centroids and an assignment of each vector at each level come out.
Start with `cluster.py`, then `kmeans.py`. `in_memory` and `out_of_core` are where vectors can lie.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Deduplication: near-duplicates by embedding and by perceptual hash.

Vectors and hashes go in; similar pairs, their groups and one representative of each group come out.
Start with `semantic.py`, then `deduplicate.py`; `similarity.py` finds the pairs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

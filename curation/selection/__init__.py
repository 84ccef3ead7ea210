"""Selection: draw a balanced sample from the cluster tree.

Clusters, caps and weights go in; an ordered list of frames comes out.
Start with `select.py`, then `sample.py`; `balance.py` splits a size over the tree.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

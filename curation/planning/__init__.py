"""Planning: the cost of a stage as a record, and how fast this machine does a unit of it.

`archive.py` estimates what files that nobody has ingested will take. Start with `cost.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

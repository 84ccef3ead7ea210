"""Tasks: labelled images that a backbone is scored on, and how.

A folder goes in; items with labels, splits and groups come out, with the heads and metrics that score them. Start with `task.py`; each task
that has a name is a file of its own, and `registry.py` lists them beside those of other packages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Runners: map a function over items, serially, in processes or on Ray, with progress.

Start with `runners.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

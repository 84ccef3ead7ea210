"""Detection: boxes of lesions on frames, found by FCOS on the maps of a backbone, and scored.

Items with true boxes go in; a stored head, predicted boxes and scores come out. Start with `rows.py`; `metrics.py` says what is counted,
`fcos.py` what is trained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Shards: a selection written as WebDataset tars, checked, and exported to other layouts.

Selected frames and their packs go in; a dataset folder with checksums and a card comes out.
Start with `plan.py`, then `write.py`; `verify_folder.py` checks a folder that was copied.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

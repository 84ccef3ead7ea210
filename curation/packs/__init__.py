"""Packs: tar files of JPEG frames, one or more for each video.

Encoded frames go in; a tar whose members are found by offset comes out, written to a temporary name and renamed.
Start with `pack.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

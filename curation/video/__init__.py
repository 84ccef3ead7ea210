"""Video: decode the frames of one file, each with its presentation time.

A file goes in; its probe, its packet index and the sampled frames come out, by decord or PyAV, with whatever is damaged marked.
Start with `reader.py`, which chooses the decoder; `packet_index.py` says when each frame is shown.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Embedding: frames to vectors by a frozen encoder.

Packs go in; fp16 vectors in Arrow files, one group of packs each, come out.
Start with `embed.py`; `encoder.py` loads the model and `preprocess.py` prepares its input.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

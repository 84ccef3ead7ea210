"""Heads: what is trained on frozen features to score them.

Features and labels of the training and validation splits go in; a fitted head comes out, which gives class probabilities or mask logits
and is stored as tensors and JSON. No file here knows tasks, items or images. Start with `head.py`; `registry.py` lists the heads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

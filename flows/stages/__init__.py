"""Stages: each turns what the lake holds into more of it, in one transaction, under one stage key.

Start with `order.py`, which lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

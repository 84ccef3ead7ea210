"""Phantom: synthetic endoscopy videos and labelled sets, rendered by a small ray caster.

A seed goes in; videos with known content, and images with known labels, come out.
Start with `phantom.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

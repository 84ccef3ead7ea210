"""Filters: scores of one frame, from its pixels alone.

A picture goes in; its content area, blur, light, bubbles, stool, imaging mode and perceptual hash come out as numbers.
Start with `frame_filter.py`; `registry.py` lists the filters. Thresholds are applied in `curation.ingest.decide`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

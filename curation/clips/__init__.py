"""Clips: pieces of videos for video models, cut from kept footage, every frame of which is checked as ingest checks its samples.

A video's samples and their verdicts go in; a pack of MP4s and a row for each clip, kept or refused, come out.
Start with `windows.py` (which times are cut), then `measure.py` (frames looked at), `verdict.py` (what of them is kept) and `cut.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

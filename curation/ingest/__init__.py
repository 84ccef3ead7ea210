"""Ingest: one video or still image to scored frames, verdicts, a pack and rows for the lake.

A source file goes in; kept frames with a reason for each dropped one come out, and what is doubtful goes to a private pack.
Start with `ingest.py`; `survey.py` looks over the whole video first, `scan.py` scores, `decide.py` judges.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Labelling: what goes out to people who label frames, and the labels that come back.

Chosen frames go in; a contact sheet, a table and the files of labelling tools come out. A file of labels goes in; labels by frame come out.
Start with `chosen.py`; `given.py` reads what comes back.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Privacy: find what identifies a person, namely burned-in text, inset pictures and frames outside the body.

Frames of one video go in; boxes to black out and out-of-body scores come out.
Start with `burned_text.py` for text and `out_of_body.py` for rooms.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

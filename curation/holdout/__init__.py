"""Hold-out: keep benchmark data, and copies of it, out of the training data.

Benchmark files go in; frames that are copies of them come out, each with the pair that proves it.
Start with `find.py`; `search.py` proposes candidates and `verify_copy.py` confirms each by local features.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

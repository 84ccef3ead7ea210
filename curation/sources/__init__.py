"""Sources: from what a user names (files, folders, globs, URIs, manifests) to local files that can be read.

Paths and manifests go in; files with a content hash, a patient and a reason to leave them for later come out.
Start with `discover.py`, then `identify.py`; `remote.py` and `fetch_cache.py` are for object stores.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Planning: what a stage will cost, from a few timed steps on this machine.

Sizes go in; seconds, memory and disk come out.
Start with `cost.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The report: one HTML file with the scores, curves, funnel and lineage of a run.

Start with `report.py`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

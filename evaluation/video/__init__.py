"""Video: features, tasks and heads of clips.

Frames of clips go in, read by a function that the caller hands over; vectors of clips, and scores of heads on them, come out.
Start with `clip_backbone.py`; `clip_features.py` reads and caches.
"""

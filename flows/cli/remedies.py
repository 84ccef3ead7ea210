"""What to do about things that an installation lacks."""

from __future__ import annotations

__all__ = ["INSTALL_REMEDY"]

INSTALL_REMEDY = "run `pip install '.[cpu]'` in the checkout, or '.[gpu]' on a machine with a GPU"

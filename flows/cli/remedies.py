"""What to do about things that an installation lacks."""

from __future__ import annotations

__all__ = ["INSTALL_REMEDY"]

INSTALL_REMEDY = "run `pip install '.[cpu]'` in the checkout, or `pip install 'PATH.whl[cpu]'`; with a GPU `gpu` in the place of `cpu`"

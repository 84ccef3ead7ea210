"""What someone may have meant by a name that is nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near_hint"]


def near_hint(name: str, known: Iterable[str]) -> str:
    """A question to put behind a message, such as ". Did you mean 'vits14'?"; empty if nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean {near[0]!r}?" if near else ""

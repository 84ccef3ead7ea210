"""Reasons for which files were rejected, in a few words for the person who waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from warehouse.lake import Lake

__all__ = ["NothingIngestedError", "recorded_rejects_in_words", "rejects_in_words"]


class NothingIngestedError(ValueError):
    """All files were rejected; the message gives the reasons."""

    def __init__(self, why: str) -> None:
        super().__init__(f"no file gave a video; rejected: {why}")


def rejects_in_words(rejects: Iterable[tuple[str, str, str]]) -> str:
    """Rejects given as (URI, reason, detail), counted by reason, the most frequent first, each with one example."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for uri, reason, detail in sorted(rejects):
        by_reason[reason].append(f"{uri}: {detail}")
    counted = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{len(examples)} {reason} ({'such as ' if len(examples) > 1 else ''}{examples[0]})" for reason, examples in counted)


def recorded_rejects_in_words(lake: Lake, uris: Sequence[str], ingest_key: str) -> str | None:
    """Why these files were rejected, now or before; None if none of them was."""
    rows = lake.rows(
        "SELECT uri, reason, detail FROM rejects WHERE ingest_key = $1 AND uri IN (SELECT unnest($2))", [ingest_key, list(uris)]
    )
    return rejects_in_words((row["uri"], row["reason"], row["detail"]) for row in rows) if rows else None

"""Reasons for which files were rejected, in a few words for the person who waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from warehouse.lake import Lake

__all__ = ["NothingIngestedError", "refuse_all_rejected", "rejects_in_words"]


class NothingIngestedError(ValueError):
    """An ingest whose files were all rejected; the message gives the reasons."""


def rejects_in_words(rejects: Iterable[tuple[str, str, str]]) -> str:
    """Rejects given as (URI, reason, detail), counted by reason, the most frequent first, each with one example."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for uri, reason, detail in sorted(rejects):
        by_reason[reason].append(f"{uri}: {detail}")
    counted = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{len(examples)} {reason} ({'such as ' if len(examples) > 1 else ''}{examples[0]})" for reason, examples in counted)


def refuse_all_rejected(lake: Lake, uris: Sequence[str], ingest_key: str) -> None:
    """Raise where some of the files were rejected, now or before; called where none of them is a video in the lake.

    Raises:
        NothingIngestedError: with the reasons.
    """
    rows = lake.rows(
        "SELECT uri, reason, detail FROM rejects WHERE ingest_key = $1 AND uri IN (SELECT unnest($2))", [ingest_key, list(uris)]
    )
    if rows:
        why = rejects_in_words((row["uri"], row["reason"], row["detail"]) for row in rows)
        raise NothingIngestedError(f"no file gave a video; rejected: {why}")

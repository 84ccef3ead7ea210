"""Prose of Markdown pages: paragraphs without code, tables and headings, their sentences, and the lines that are prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["long_lines", "num_words", "sentences"]

_OTHER = re.compile(r"\s*(\||#|!!!|<|\{|```)")
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.|:) +(.*)")


def sentences(page: str) -> Iterator[str]:
    """Each sentence, or part of one before a colon or semicolon; code and links count as one word and as their text."""
    for paragraph in _paragraphs(re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", paragraph)).replace("**", "")
        yield from re.split(r"(?<=[.!?:;])\s+", plain)


def num_words(sentence: str) -> int:
    """Words, numbers among them."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def long_lines(page: str, most: int) -> list[str]:
    """Lines of prose beyond so many characters; links cannot be broken."""
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL).splitlines()
    return [line for line in prose if len(line) > most and not _OTHER.match(line) and "](" not in line and "http" not in line]


def _paragraphs(page: str) -> Iterator[str]:
    lines: list[str] = []
    for line in [*page.splitlines(), ""]:
        item = _ITEM.match(line)
        if lines and (item or _OTHER.match(line) or not line.strip()):
            yield " ".join(lines)
            lines = []
        if item:
            lines = [item[1]]
        elif line.strip() and not _OTHER.match(line):
            lines.append(line.strip())

"""What a run has to tell the person who waits: written by workers, whose own output is not shown, said by whoever started them."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

__all__ = ["NOTICES", "note", "notices_after"]

_log = logging.getLogger(__name__)

NOTICES = "notices.jsonl"
"""In a run's folder: one sentence a line."""


def note(run_dir: Path, sentence: str) -> None:
    """Say a sentence in this process, and leave it in the run's folder; a full disk does not stop the run here."""
    _log.warning("%s", sentence)
    with contextlib.suppress(OSError), (run_dir / NOTICES).open("a") as file:
        file.write(json.dumps(sentence) + "\n")


def notices_after(run_dir: Path, offset: int) -> tuple[list[str], int]:
    """Sentences that were written beyond an offset in bytes, and the offset after them; a line half written waits."""
    path = run_dir / NOTICES
    if not path.exists():
        return [], 0
    with path.open("rb") as file:
        file.seek(offset)
        whole, newline, _ = file.read().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole) + len(newline)

"""Audits in words, for the terminal and the report. Nothing reads these sentences back: decisions use the records."""

from __future__ import annotations

from pathlib import Path

from warehouse.audits import Audit
from warehouse.dataset_audit import DatasetAudit

__all__ = ["audit_state", "dataset_sentence"]


def audit_state(audit: Audit, *, item: str = "frames") -> str:
    """What all sign-offs of an audit of frames, or of clips, found, and what that proves, in one line."""
    if audit.status == "open":
        return f"audit {audit.audit_id} waits for a person: look at its sheet, then add --sign-off {audit.audit_id} --reviewer NAME"
    share = f"{100 * (audit.upper_bound_95 or 0):.1f}% of the {item} identify someone (95% confidence, videos counted alike)"
    signed = f"in {audit.num_frames} {item} (audit {audit.audit_id}, {audit.reviewer}, {audit.day})"
    if audit.status == "clean":
        return f"audited: nothing found {signed}; at most {share}"
    return f"audited: {audit.num_findings} found {signed} and removed; before that at most {share}; draw another sample of what is left"


def dataset_sentence(verdict: DatasetAudit, lake: Path) -> str:
    """The privacy verdict on a dataset of the lake in that folder, with what was not looked at, in one line."""
    if verdict.audit is None:
        own = " --dataset NAME" if verdict.is_of_clips else ""
        parts = [f"not audited: run `endoforge privacy-audit --lake {lake}{own}` before shards leave the hospital"]
    else:
        parts = [audit_state(verdict.audit, item="clips" if verdict.is_of_clips else "frames")]
    if verdict.num_later_videos:
        parts.append(f"{verdict.num_later_videos} of its videos came in after the sample was drawn")
    if verdict.num_later_frames:
        parts.append(f"{verdict.num_later_frames} of its frames were brought back after the sample was drawn, draw another")
    if verdict.num_unchecked_for_text:
        parts.append(f"{verdict.num_unchecked_for_text} of its frames were never looked at for text")
    if verdict.num_removed:
        parts.insert(0, f"findings: it holds {verdict.num_removed} frames that were removed later, curate another")
    return "; but ".join(parts)

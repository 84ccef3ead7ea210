"""What a person looked at and what leaves the lake for good."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from curation.privacy import AuditConfig, OutOfBodyConfig
from flows.cli.execution import Execution, Flat, OfLake

__all__ = ["PrivacyAudit", "RemoveOutOfBody"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyAudit(OfLake):
    """Draw frames for a person to look at, or record what that person found; found frames are removed for good.

    With --private, look at pictures that were withheld (dropped as out of body, or hidden under a doubtful mask) and decide about them.
    """

    dataset: str | None = None
    """draw from this dataset's shards, whole clips if it is of clips; from all kept frames unless given"""
    config: Annotated[AuditConfig, arg(name="")] = field(default_factory=AuditConfig)
    sign_off: str | None = None
    """id of the audit whose sheet a person has looked through, or a unique start of it; instead of drawing one"""
    reviewer: str = ""
    """that person's name, as it is to be recorded"""
    found: tuple[int, ...] = ()
    """positions on the sheet of the frames, or clips, that identify someone; none where it is clean"""
    note: str = ""
    """anything else to record"""
    remove_videos: bool = False
    """remove all frames of the found frames' videos"""
    private: bool = False
    """draw withheld pictures, those of flagged videos first, onto a private page (file mode 0600); with --sign-off, decide about them"""
    lift: tuple[int, ...] = ()
    """positions on the private page whose mask is wrong: the picture without it becomes the frame"""
    restore: tuple[int, ...] = ()
    """positions on the private page that show the inside of a patient: they become frames"""
    whole_video: bool = False
    """decide about all withheld pictures of the shown videos: lifted or restored in videos where one was, confirmed in the others"""
    keep_private: bool = False
    """keep the decided private pictures and their page; they are deleted otherwise"""
    purge_private: bool = False
    """delete all private pictures, seen or not, and do nothing else; what was quarantined stays out for good"""
    older_than_days: float = 0.0
    """with --purge-private: only those of videos ingested that many days ago or earlier"""
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.purge_private and (self.sign_off is not None or self.private or self.dataset):
            raise ValueError("got --purge-private with another task, expected it alone or with --older-than-days")
        if self.older_than_days < 0 or (self.older_than_days and not self.purge_private):
            raise ValueError(f"got --older-than-days {self.older_than_days:g}, expected 0 or more days, with --purge-private")
        decided = self.lift or self.restore or self.whole_video or self.keep_private
        if decided and not (self.private and self.sign_off is not None):
            raise ValueError(
                "got a decision about withheld pictures without --private --sign-off AUDIT_ID; the id stands on the private page"
            )
        if self.private and (self.dataset or self.found or self.remove_videos):
            raise ValueError(
                "got --private with --dataset, --found or --remove-videos, which are for audits of frames in use; leave one out"
            )
        if self.sign_off is None and (self.reviewer or self.found or self.note or self.remove_videos):
            raise ValueError("got an outcome without --sign-off AUDIT_ID, expected the id that stands on the sheet")
        if self.sign_off is not None and not self.reviewer.strip():
            raise ValueError('got no --reviewer, expected the name of the person who looked, as in --reviewer "Jane Doe"')
        if self.remove_videos and not self.found:
            raise ValueError("got --remove-videos without --found, expected the positions of the frames whose videos are to go")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOutOfBody(OfLake):
    """Learn from labelled images what is outside the body, and remove such frames for good."""

    labels: Path
    """folder with the folders inside/ and outside/ of images; images of one procedure in a subfolder of their own are kept together"""
    encoder: str = "efficientnet-lite0"
    """whose embeddings to use, by the name given to `embed`"""
    allow_download: bool = False
    """let timm fetch weights of a named encoder from the Hugging Face hub"""
    dry_run: bool = False
    """only say what would be removed"""
    execution: Flat = field(default_factory=Execution)
    config: OmitArgPrefixes[Annotated[OutOfBodyConfig, arg(name="out-of-body")]] = field(default_factory=OutOfBodyConfig)

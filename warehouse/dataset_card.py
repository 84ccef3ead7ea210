"""A dataset's card: README.md with the front matter that the Hugging Face hub reads, from the lake's facts alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from warehouse.audits import Audit
from warehouse.dataset_facts import DatasetFacts, MixRow
from warehouse.markdown import markdown_table
from warehouse.private_frames import flag_counts
from warehouse.records import Dataset

__all__ = ["DataForm", "audit_statement", "dataset_card", "privacy_statement"]

DataForm = Literal["shards", "hf", "parquet", "imagefolder"]

_DATA_FILES: dict[DataForm, str | list[str]] = {
    "shards": "*.tar",
    "hf": "data/*.tar",
    "parquet": "data/train-*.parquet",
    "imagefolder": ["cluster-*/*.jpg", "metadata.csv"],
}
"""patterns by which the library `datasets` finds the data; it reads metadata.csv only if it is named here"""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_NAMED_VIDEOS = 20
_PRIVATE_SETTINGS = ("after", "frames", "previous")
"""bookkeeping of a run's identity, nothing that says how its data came about"""


def dataset_card(dataset: Dataset, facts: DatasetFacts, *, settings: Mapping[str, Any], form: DataForm) -> str:
    """The text of README.md.

    Args:
        dataset: what it is about.
        facts: what the lake knows of it.
        settings: of the sharding.
        form: of the data beside the card.
    """
    num_bytes = sum(shard.num_bytes for shard in dataset.shards)
    tars = f"{len(dataset.shards):,} WebDataset tars, {num_bytes / 1e9:.3f} GB"
    in_tars, num_images = form in ("shards", "hf"), facts.num_frames if form == "imagefolder" else dataset.num_images
    stages = [*facts.stages, ("shard", "", "", dict(settings))]
    lines = [
        *_front_matter(dataset, form),
        f"# {dataset.name}",
        "",
        f"{num_images:,} images of gastrointestinal endoscopy from {facts.num_videos:,} videos, for self-supervised pretraining: "
        f"{_what_is_there(form, tars, len(dataset.shards))}. Made by EndoForge.",
        "",
        f"Content id `{dataset.dataset_id}` (SHA-256 over the hashes of the {'' if in_tars else 'original '}tars in order). "
        "`sha256sum -c SHA256SUMS` checks every file.",
        "",
        "## Counts",
        "",
        *markdown_table(
            ("what", "number"),
            [
                ("images in the tars" if in_tars else "images in the original tars", f"{dataset.num_images:,}"),
                ("different frames", f"{facts.num_frames:,}"),
                ("videos", f"{facts.num_videos:,}"),
                ("known patients", f"{facts.num_patients:,}"),
                ("frames whose patient is not known", f"{facts.num_images_without_patient:,}"),
                ("bytes of the tars" if in_tars else "bytes of the original tars", f"{num_bytes:,}"),
            ],
        ),
        "## Funnel",
        "",
        "Up to `kept` all videos count that the lake held when this card was written, after it this dataset's own way.",
        "",
        *markdown_table(("step", "reason", "frames"), [(step, reason, f"{number:,}") for step, reason, number in facts.funnel]),
        "Files that gave no frame: " + (", ".join(f"{reason} {number:,}" for reason, number in facts.rejects) or "none") + ".",
        "",
        "## How it was made",
        "",
        *(line for stage in stages for line in _stage(*stage)),
        "## Bias",
        "",
        f"Evenness over the finest clusters (entropy, 1 is even): {facts.entropy:.3f}; "
        f"of the candidates it was {facts.entropy_of_candidates:.3f}.",
        "",
        *(line for column, rows in facts.mixes.items() for line in _mix(column, rows)),
        "What the archive lacks, this dataset lacks. Shares are of frames; one video gives many similar ones.",
        "",
        "## Privacy",
        "",
        privacy_statement(facts),
        "",
        "## Lineage",
        "",
        f"Selection `{dataset.selection_id}`. Ids of videos and frames are content hashes; only the hospital's lake knows their files,"
        " and `endoforge lineage` prints the tree.",
        "",
        *markdown_table(("stage", "run", "code"), [(stage, run_id, code) for stage, run_id, code, _ in facts.stages]),
        "## Licence",
        "",
        "None is granted by this card. The terms of the institution that holds the recordings apply: put them here before data leaves.",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _what_is_there(form: DataForm, tars: str, num_files: int) -> str:
    match form:
        case "shards" | "hf":
            return tars
        case "parquet":
            return f"{num_files:,} Parquet files with the JPEGs and what is known of each, exported from {tars}"
        case "imagefolder":
            return f"JPEG files in a folder for each cluster, and `metadata.csv` of what is known of each, exported from {tars}"


def privacy_statement(facts: DatasetFacts) -> str:
    """What was done so that nobody is recognised, and what was not."""
    said = [
        "Frames outside the body and frames with burned-in text are dropped or masked, with the settings above; filters miss some.",
        "The files hold ids and pixels: no path, name, date or patient id.",
    ]
    verdict, audit = facts.audit, facts.audit.audit
    item = "clips" if verdict.is_of_clips else "frames"
    if verdict.num_unchecked_for_text:
        said.append(f"{verdict.num_unchecked_for_text:,} of its frames were never looked at for text.")
    if verdict.num_removed:
        said.append(f"It holds {verdict.num_removed:,} frames that were removed since: do not use it.")
    if facts.num_boxed:
        said.append(
            f"{facts.num_boxed:,} of its frames have a box over text; "
            f"over all of its frames, boxes hide {facts.text_share:.2%} of a frame on average."
        )
    if facts.flagged:
        names = ", ".join(video.video_id[:16] for video in facts.flagged[:_NAMED_VIDEOS])
        more = f" and {len(facts.flagged) - _NAMED_VIDEOS:,} more" if len(facts.flagged) > _NAMED_VIDEOS else ""
        said.append(f"Filters took much of some of its videos: {flag_counts(facts.flagged)}. By video id: {names}{more}.")
    if audit is None:
        said.append("No person has looked through a sample of it: not audited.")
    elif audit.status == "open":
        said.append(f"A sample of {audit.num_frames:,} {item} was drawn (audit {audit.audit_id}) and no person has signed it off yet.")
    else:
        said.append(audit_statement(audit, item=item))
    if verdict.num_later_videos:
        said.append(f"{verdict.num_later_videos:,} of its videos came in after that sample was drawn.")
    if verdict.num_later_frames:
        said.append(f"{verdict.num_later_frames:,} of its frames were brought back after that sample was drawn.")
    return " ".join([*said, "This is the state when the card was written."])


def audit_statement(audit: Audit, *, item: str = "frames") -> str:
    """The outcome of a signed audit of frames, or of clips. It names nobody, since a card leaves the hospital."""
    signed = "A person looked" if audit.num_sign_offs == 1 else f"People looked ({audit.num_sign_offs} sign-offs)"
    scope = "this dataset" if audit.dataset_id else "all candidates of the lake"
    found = "nothing was found" if audit.status == "clean" else f"{audit.num_findings:,} were found to identify someone and removed"
    bound = "" if audit.upper_bound_95 is None else f"; at most {100 * audit.upper_bound_95:.1f}% identify someone (95% confidence)"
    return f"{signed} through {audit.num_frames:,} {item} of {scope} (audit {audit.audit_id}): {found}{bound}."


def _front_matter(dataset: Dataset, form: DataForm) -> list[str]:
    size = next((name for limit, name in _SIZES if dataset.num_images < limit), "10M<n<100M" if dataset.num_images < 10**8 else "100M<n<1B")
    return [
        "---",
        "license: other",
        "license_name: institutional-terms",
        f"pretty_name: {json.dumps(dataset.name)}",
        "task_categories:",
        "- image-feature-extraction",
        "tags:",
        "- medical",
        "- endoscopy",
        "- gastroenterology",
        *(["- webdataset"] if form in ("shards", "hf") else []),
        "- endoforge",
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: {json.dumps(_DATA_FILES[form])}",
        "---",
        "",
    ]


def _stage(stage: str, run_id: str, code: str, settings: dict[str, Any]) -> list[str]:
    rows = [(key, json.dumps(value)) for key, value in sorted(settings.items()) if key not in _PRIVATE_SETTINGS]
    return [f"### {stage}" + (f" `{run_id}`" if run_id else ""), "", *markdown_table(("setting", "value"), rows)]


def _mix(column: str, rows: tuple[MixRow, ...]) -> list[str]:
    if all(row.value is None for row in rows):
        return [f"By {column}: not known of any video.", ""]
    cells = [
        (
            row.value or "(not known)",
            f"{row.num_images:,}",
            f"{row.num_videos:,}",
            f"{row.num_patients:,}",
            f"{100 * row.share:.1f}%",
            f"{100 * row.share_of_candidates:.1f}%",
        )
        for row in rows
    ]
    return markdown_table((column, "frames", "videos", "known patients", "share", "share of candidates"), cells)

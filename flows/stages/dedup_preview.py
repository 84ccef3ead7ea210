"""What thresholds of deduplication would do, as one page and as text; nothing is decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curation.dedup import BorderPair, BorderRow, DedupConfig, DedupSheet, ThresholdCount, render_dedup_sheet, text_histogram
from curation.packs import read_frame, thumbnail
from flows.job import Job
from flows.runners import say
from flows.stages.dedup import without_dataset
from flows.stages.stage import needed
from warehouse import similarities
from warehouse.lake import Lake
from warehouse.queries import encoder_label

__all__ = ["run_dedup_preview"]

THUMBNAIL_PX = 220
LOWEST_BIN = 0.5
NUM_BINS = 50


def run_dedup_preview(
    job: Job, *, encoder_id: str, config: DedupConfig, thresholds: Sequence[float], num_pairs: int, out: Path | None, seed: int
) -> str:
    """Write the page and return a summary as text; the search is recorded, so that a later decision starts from it."""
    scores = needed(without_dataset(job, ("similarity",), encoder_id=encoder_id, config=config, seed=seed).scores)
    lake, key = job.lake, scores.artifact_id
    edges = [round(LOWEST_BIN + (1 - LOWEST_BIN) * number / NUM_BINS, 4) for number in range(NUM_BINS + 1)]
    found = similarities.similarity_histogram(lake, key, edges)
    histogram = tuple((low, high, count) for low, high, count in zip(edges, edges[1:], found, strict=False))
    shown = sorted({*thresholds, config.dedup_threshold})
    counts = tuple(
        ThresholdCount(threshold=value, num_semantic=semantic, num_gone=gone, is_current=value == config.dedup_threshold)
        for value, semantic, gone in similarities.counts_by_threshold(lake, key, shown, hash_distance=config.dedup_hash_distance)
    )
    num_copies, by_distance = similarities.counts_by_distance(lake, key)
    distances = range(config.dedup_hash_radius + 1)

    def pairs(**border: float) -> tuple[BorderPair, ...]:
        return tuple(_pair(lake, pair) for pair in similarities.border_pairs(lake, key, limit=num_pairs, **border))  # type: ignore[arg-type]

    sheet = DedupSheet(
        encoder=encoder_label(lake, encoder_id),
        keep=config.dedup_keep,
        num_frames=scores.num_rows or 0,
        num_copies=num_copies,
        num_by_distance=tuple((bits, by_distance.get(bits, 0)) for bits in distances),
        hash_distance=config.dedup_hash_distance,
        histogram=histogram,
        counts=counts,
        cosine_rows=tuple(
            row
            for value in shown
            for row in (
                BorderRow(title=f"{value}: just above, would go", pairs=pairs(low=value)),
                BorderRow(title=f"{value}: just below, would stay", pairs=pairs(high=value)),
            )
        ),
        hash_rows=tuple(BorderRow(title=f"{bits} bits apart", pairs=pairs(bits=bits)) for bits in distances),
    )
    path = (out or lake.root / "previews" / f"dedup-{key[:16]}.html").absolute()
    render_dedup_sheet(sheet, path)
    say(f"dedup: preview in {path}; it shows frames, keep it as you keep the lake")
    return _summary(sheet)


def _pair(lake: Lake, pair: similarities.FramePair) -> BorderPair:
    score = f"cosine {pair.similarity:.4f}" if pair.similarity is not None else f"{pair.hash_distance} bits"
    first = read_frame(lake.root / pair.other_pack_path, pair.other_byte_offset, pair.other_byte_size)
    second = read_frame(lake.root / pair.pack_path, pair.byte_offset, pair.byte_size)
    return BorderPair(
        caption=f"stays, goes; {score}, {_where(pair)}",
        first=thumbnail(first, width=THUMBNAIL_PX),
        second=thumbnail(second, width=THUMBNAIL_PX),
    )


def _where(pair: similarities.FramePair) -> str:
    if not pair.same_video:
        return "two videos"
    return "same folder of images" if pair.apart_s is None else f"same video, {pair.apart_s:.1f} s apart"


def _summary(sheet: DedupSheet) -> str:
    lines = ["similarity to the most similar frame of its cluster:", text_histogram(sheet.histogram), ""]
    lines.append("threshold   similar alone   with copies and look-alikes")
    for row in sheet.counts:
        share = f"({100 * row.num_gone / max(sheet.num_frames, 1):.1f}%){' <- chosen' if row.is_current else ''}"
        lines.append(f"{row.threshold:<9g} {row.num_semantic:>15,} {row.num_gone:>15,} {share}")
    lines += ["", f"exact copies: {sheet.num_copies:,}"]
    lines += [f"closest look-alike {bits} bits apart: {count:,}" for bits, count in sheet.num_by_distance]
    return "\n".join(lines)

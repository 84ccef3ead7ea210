"""What `curate` would cost on this machine, stage by stage, before any of it is done; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

from curation.config import CurateConfig
from curation.embedding import EMBED_VERSION, EmbedConfig, load_encoder
from curation.planning import Rate, Unit, unit_rate
from flows.config import RunConfig
from flows.job import Job
from flows.planning.table import PlanLine, plan_table, what_fits
from flows.stages import STAGES, Made, Sizes, Stage, frames_to_place, place_cost, rate_of_runs, read_held_out, stages_of, steps
from warehouse import queries, trees
from warehouse.lake import Lake, LakeError
from warehouse.plan_sizes import finished_runs, pool_sizes, sample_jpegs, unique_share

__all__ = ["plan_curate"]

_RateOf = Callable[[Stage, int, Unit], Rate]
"""Stage, number of frames and unit of its work to the rate at which that is expected to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """The encoder whose vectors are curated."""

    config: EmbedConfig
    encoder_id: str
    dim: int
    num_to_embed: int
    """frames without a vector"""


def plan_curate(job: Job, *, name: str, encoder: str | None, config: CurateConfig) -> str:
    """The table of stages with items, time, memory and disk, and whether it fits this machine; kept results of former runs cost nothing.

    A stage after one that is to be done is to be done too. How many frames deduplication will leave is taken from the latest one of this
    lake, and without one none are expected to go.

    Raises:
        LakeError: there is no candidate.
    """
    lines = _lines(job, RunConfig.of_curation(job.lake.root, name, config), _encoder(job.lake, encoder))
    said = [*plan_table(lines), "", *what_fits(lines, job.lake.root)]
    if lines[0].cost:
        said.append("embed is a command of its own: type `endoforge embed` before `endoforge curate`")
    return "\n".join(said)


def _encoder(lake: Lake, named: str | None) -> _Encoder:
    if not pool_sizes(lake).num_candidates:
        raise LakeError(f"there is no kept frame in {lake.root}; run `endoforge ingest --lake {lake.root}` first")
    config = EmbedConfig(encoder=named) if named else EmbedConfig()
    try:
        encoder_id = queries.encoder_named(lake, named)
        config = EmbedConfig(encoder=queries.encoder_label(lake, encoder_id))
        dim = queries.embedding_parts(lake, encoder_id)[0].dim
    except LakeError:  # nothing is embedded yet
        found = load_encoder(config)
        encoder_id, dim = found.encoder_id, found.dim
    num_to_embed = sum(pack.num_frames for pack in queries.packs_without_embeddings(lake, encoder_id, EMBED_VERSION))
    return _Encoder(config=config, encoder_id=encoder_id, dim=dim, num_to_embed=num_to_embed)


def _lines(job: Job, config: RunConfig, encoder: _Encoder) -> list[PlanLine]:
    """Go through the stages as curation does; where one is not done, estimate what it and those that need it will cost."""
    held_out = read_held_out(config.holdout) if config.holdout.holdout else None
    pool = pool_sizes(job.lake)
    sizes = Sizes(
        config=config.curate,
        dim=encoder.dim,
        jpeg_bytes=pool.jpeg_bytes,
        num_workers=getattr(job.runner, "num_workers", 1),
        num_pictures=len(held_out.files) if held_out else 0,
    )
    rate_of = _rates(job.lake, encoder, sizes)
    (embed,) = stages_of("embed")
    is_done = {stage.name: True for stage in STAGES} | {"embed": not encoder.num_to_embed}
    lines = [_line(embed, encoder.num_to_embed, sizes, rate_of) if encoder.num_to_embed else PlanLine(stage="embed")]
    parts = () if encoder.num_to_embed else queries.embedding_parts(job.lake, encoder.encoder_id)
    made = Made(encoder_id=encoder.encoder_id, parts=parts, held_out=held_out)
    num_frames = pool.num_candidates
    for stage, of_size in steps(stages_of("curate"), config):
        found = stage.find(job, of_size, made) if stage.find and all(is_done[needed] for needed in stage.needs) else None
        is_done[stage.name] = found is not None
        made = found or made
        if found:
            line = PlanLine(stage=stage.name)
        else:
            todo, num_items = _work(job, stage, of_size, made, num_frames, is_selected=is_done["select"])
            line = _line(todo, num_items, replace(sizes, config=of_size.curate), rate_of)
        lines.append(replace(line, stage=f"{stage.name} {of_size.size}") if stage.each_size else line)
        num_frames = _num_left(job.lake, stage, num_frames, found)
    return lines


def _rates(lake: Lake, encoder: _Encoder, sizes: Sizes) -> _RateOf:
    """Rates of recorded runs with this encoder or, failing those, of this machine; each unit is timed once."""
    runs = [run for run in finished_runs(lake) if run.config.get("encoder_id", encoder.encoder_id) == encoder.encoder_id]

    @cache
    def timed(unit: Unit) -> Rate:
        return unit_rate(unit, dim=sizes.dim, encoder=encoder.config, jpegs=sample_jpegs(lake, 16))

    return lambda stage, num_frames, unit: rate_of_runs(stage, runs, num_frames, sizes) or timed(unit)


def _line(stage: Stage, num_items: int, sizes: Sizes, rate_of: _RateOf) -> PlanLine:
    assert stage.cost is not None
    cost = stage.cost(num_items, sizes)
    rate = rate_of(stage, num_items, cost.unit)
    seconds = stage.fixed_s + rate.seconds(cost, num_cores=sizes.num_workers)
    return PlanLine(stage=stage.name, cost=cost, seconds=seconds, source=rate.source)


def _work(job: Job, stage: Stage, config: RunConfig, made: Made, num_frames: int, *, is_selected: bool) -> tuple[Stage, int]:
    """What a stage that is to be done will do, and on how many items; clustering may only place new frames in a tree that is there."""
    if stage.name == "shard":
        num_images = made.selection.num_rows if is_selected and made.selection else None
        return stage, min(config.curate.size, num_frames) if num_images is None else num_images
    if stage.name == "cluster":
        new = frames_to_place(
            job, encoder_id=made.encoder_id, dedup=made.dedup, num_unique=num_frames, config=config.cluster, seed=config.seed
        )
        if new:
            return replace(stage, name="cluster (place)", cost=partial(place_cost, finest=new[1])), new[0]
    return stage, num_frames


def _num_left(lake: Lake, stage: Stage, num_frames: int, found: Made | None) -> int:
    """How many frames a stage leaves for the next, or will leave."""
    if stage.name == "holdout" and found and found.holdout:
        return num_frames - (found.holdout.num_rows or 0)
    if stage.name == "dedup":
        if found and found.dedup:
            return trees.num_unique(lake, found.dedup.artifact_id)
        return max(1, round(num_frames * unique_share(lake)))
    return num_frames

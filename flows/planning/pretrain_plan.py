"""What `pretrain` would take on given GPUs, before any of it is done; nothing is written."""

from __future__ import annotations

import statistics
from pathlib import Path

from flows.parameters import changed_config
from pretrain.cards import Card, card_named
from pretrain.config import PretrainConfig
from pretrain.machine import noted_machine
from pretrain.plan import PretrainPlan, RecordedSpeed, loader_rate, plan_pretraining, what_fits
from pretrain.video.flops import clip_tokens
from warehouse.catalog import has_lake
from warehouse.lake import Lake, open_lake
from warehouse.plan_sizes import training_speeds

__all__ = ["plan_pretrain_text", "recorded_speeds"]


def plan_pretrain_text(lake_root: Path, config: PretrainConfig, *, recipe: str, gpu: str, num_gpus: int) -> str:
    """Parameters, memory by part, operations, speed and hours as text, and whether it fits.

    Args:
        lake_root: whose finished runs correct the speed; there need not be a lake yet.
        config: whole recipe.
        recipe: its name, for the heading.
        gpu: a name in `pretrain.cards.CARDS`.
        num_gpus: one training process each.

    Raises:
        ValueError: the card is not known, or the GPUs cannot share the batch evenly.
    """
    card = card_named(gpu)
    is_lake = has_lake(lake_root)
    recorded: tuple[RecordedSpeed, ...] = ()
    if is_lake:
        with open_lake(lake_root, read_only=True) as lake:
            recorded = recorded_speeds(lake)
    plan = plan_pretraining(config, card, num_gpus=num_gpus, recorded=recorded)
    return "\n".join(
        [
            *_heading(config, recipe, card, num_gpus, plan),
            "",
            *_memory(config, card, num_gpus, plan),
            "",
            *_speed(config, num_gpus, plan),
            f"constants from {card.source} and tests/device/FIGURES.md; "
            f"{len(recorded)} finished {'run' if len(recorded) == 1 else 'runs'} of {lake_root if is_lake else 'no lake'} to correct them",
            "",
            *_verdict(config, card, num_gpus, plan),
        ]
    )


def recorded_speeds(lake: Lake) -> tuple[RecordedSpeed, ...]:
    """Finished runs whose device is known, the latest last; the first figure after a start has compilation in it and does not count."""
    found = []
    for run_id, settings, rows in training_speeds(lake):
        machine = noted_machine(lake.root / "runs" / run_id)
        if machine is None:
            continue
        speeds = [speed for step, speed in rows if step > machine.first_step][1:]
        try:
            config = changed_config(run_id, settings, {})
        except ValueError:  # of a version with other settings
            continue
        if speeds:
            found.append(
                RecordedSpeed(
                    run_id=run_id,
                    config=config,
                    device=machine.device,
                    num_workers=machine.num_workers,
                    images_per_s=statistics.median(speeds),
                )
            )
    return tuple(found)


def _heading(config: PretrainConfig, recipe: str, card: Card, num_gpus: int, plan: PretrainPlan) -> list[str]:
    how = ("FSDP2" if plan.is_sharded else "DDP") if num_gpus > 1 else "alone"
    number, parameters = "fp32" if config.train.precision == "fp32" else "bf16", plan.parameters
    tokens = []
    if config.video is not None:
        student, teacher = clip_tokens(config)
        tokens = [f"tokens      {student:,} student and {teacher:,} teacher patch tokens a clip"]
    return [
        f"{recipe}: {config.train.num_steps:,} steps of {config.train.batch_size:,} {_item(config)}s "
        f"on {num_gpus} x {card.name}, {how}, {number}",
        "",
        f"parameters  {_millions(parameters.backbone)} backbone, {_millions(parameters.heads)} heads, "
        f"{_millions(parameters.total)} together; the teacher has as many",
        *tokens,
    ]


def _memory(config: PretrainConfig, card: Card, num_gpus: int, plan: PretrainPlan) -> list[str]:
    title = f"memory of each GPU, {config.train.batch_size // num_gpus:,} {_item(config)}s"
    total = sum(plan.memory.values())
    rows = [*plan.memory.items(), ("together", total)]
    width = max(len(title), *(len(name) for name in plan.memory)) + 2
    lines = [f"{name:<{width}}{number / 1e9:>8.2f} GB" for name, number in rows]
    return [title, *lines[:-1], f"{lines[-1]} of {card.memory_gb} GB"]


def _speed(config: PretrainConfig, num_gpus: int, plan: PretrainPlan) -> list[str]:
    item, rate = _item(config), loader_rate(config)
    lines = [
        f"work        {plan.flops_per_image / 1e9:,.1f} GFLOP {'an' if item == 'image' else 'a'} {item}, forward and backward, "
        "without what is recomputed",
        f"GPUs        {plan.speed.images_per_s:,.0f} {item}s a second, MFU {plan.speed.mfu:.1%} ({plan.speed.source})",
    ]
    if not plan.speed.is_recorded:
        processes = max(1, config.train.num_loader_workers)
        lines.append(f"loading     {plan.loader_images_per_s:,.0f} {item}s a second by {processes} processes a GPU, {rate:g} each")
        if plan.loader_images_per_s < plan.speed.images_per_s:
            wanted = -(-plan.speed.images_per_s // (rate * num_gpus))
            lines.append(f"            the limit: as fast as the GPUs are {wanted:.0f}, with --train.num-loader-workers and as many cores")
    images = config.train.num_steps * config.train.batch_size
    lines.append(f"time        {plan.hours:,.1f} h for {images / 1e6:,.1f} million {item}s, {plan.hours * num_gpus:,.0f} GPU hours")
    return lines


def _verdict(config: PretrainConfig, card: Card, num_gpus: int, plan: PretrainPlan) -> list[str]:
    total = sum(plan.memory.values())
    if total <= card.memory_gb * 1e9:
        return [f"it fits: {total / 1e9:.1f} GB of {card.memory_gb} GB"]
    found = what_fits(config, card, num_gpus=num_gpus)
    advice = [
        found.accumulate and f"--train.accumulate {found.accumulate} (the same run)",
        found.num_gpus and f"--train-workers {found.num_gpus}",
        found.num_gpus_recomputing and f"--model.activation-checkpointing with --train-workers {max(num_gpus, found.num_gpus_recomputing)}",
        found.batch_size and f"--train.batch-size {found.batch_size} or less (another run: the rate follows its square root)",
    ]
    said = "; or ".join(sentence for sentence in advice if sentence)
    return [f"WARNING: it does not fit: {total / 1e9:.1f} GB of {card.memory_gb} GB; give {said or 'a larger card'}"]


def _item(config: PretrainConfig) -> str:
    """What a sample is called."""
    return "image" if config.video is None else "clip"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"

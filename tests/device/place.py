"""Where a check runs and where it writes what it finds, and the models that the checks use."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.compiled import CompiledLosses, _CompiledBlock, compile_blocks, compile_losses
from pretrain.config import AugmentConfig, HeadConfig, LossConfig, PretrainConfig
from pretrain.data import Batch
from pretrain.drop_path import KeptRows, draw_kept_rows
from pretrain.masking import batch_masks, mask_weights
from pretrain.model import Network, num_blocks
from pretrain.parallel import current_worker
from pretrain.recipes import recipe
from pretrain.state import TrainingState, build_state
from pretrain.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One check's machine, scratch folder and time limit."""

    name: str
    """the check's own"""
    dry: bool
    """a tiny model on the CPU instead of the real ones on the GPU"""
    work: Path
    """scratch folder that all checks share"""
    seconds: float
    """after these it is killed"""
    start_s: float
    """time.monotonic() at its start"""

    @property
    def device(self) -> torch.device:
        """The one that is checked."""
        return torch.device("cpu") if self.dry else torch.device("cuda", 0)

    @property
    def left_s(self) -> float:
        """Seconds until it is killed."""
        return self.start_s + self.seconds - time.monotonic()

    def note(self, **values: Any) -> None:
        """Keep values on disk at once: they count even when the check is killed later."""
        path = self.work / "found" / f"{self.name}.json"
        found = json.loads(path.read_text()) | values if path.exists() else values
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(found, default=str))
        temporary.replace(path)

    def found(self, name: str) -> dict[str, Any]:
        """What another check noted before, nothing where it did not run."""
        path = self.work / "found" / f"{name}.json"
        values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return values


def cores() -> int:
    """CPU cores of this process."""
    return len(os.sched_getaffinity(0))


def small(place: Place, *, precision: Literal["auto", "fp32", "bf16"] = "fp32", checkpointing: bool = False) -> PretrainConfig:
    """The whole recipe on a small ViT, for comparisons; LayerScale 1 keeps KoLeo's gradient well-conditioned from the start."""
    base = recipe("vits14")
    width, depth, heads, prototypes, batch = (24, 2, 2, 32, 4) if place.dry else (192, 6, 3, 4096, 32)
    side, local = (56, 14) if place.dry else (112, 56)
    head = HeadConfig(num_prototypes=prototypes, hidden_dim=4 * width, bottleneck_dim=64)
    return replace(
        base,
        model=replace(
            base.model,
            img_size=side,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            drop_path_rate=0.3,
            layer_scale_init=1.0,
            activation_checkpointing=checkpointing,
        ),
        dino_head=head,
        ibot_head=head,
        augment=AugmentConfig(local_size=local, num_local=2 if place.dry else 8),
        loss=LossConfig(teacher_temperature_warmup_steps=10),
        optim=replace(base.optim, base_lr=2e-4, warmup_steps=2, freeze_last_layer_steps=1, teacher_momentum=0.9),
        train=replace(
            base.train,
            num_steps=4 if place.dry else 14,
            batch_size=batch,
            precision=precision,
            compile="off",
            num_loader_workers=0,
            log_every=1,
        ),
        checkpoint=replace(base.checkpoint, every=2 if place.dry else 7, keep_best=3, validate_start=False),
    )


def full(place: Place, name: str, *, batch_size: int) -> PretrainConfig:
    """A recipe but for its batch, not compiled before `compile_all` does it; a tiny model in its place in a dry run."""
    if place.dry:
        tiny = small(place, precision="auto")
        return replace(tiny, train=replace(tiny.train, batch_size=batch_size, num_steps=1000))
    base = recipe(name)
    return replace(base, train=replace(base.train, batch_size=batch_size, compile="off"))


def build(config: PretrainConfig, place: Place) -> Trainer:
    """A trainer at its start, alone on the device."""
    worker = current_worker(config.train, use_gpu=not place.dry)
    return Trainer(build_state(config, worker), config, worker)


def build_quickly(config: PretrainConfig, place: Place) -> Trainer:
    """The same with weights drawn on the device, for timing: others than those of a run, but a large model's in no time."""
    try:
        with place.device:
            trainer = build(config, place)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        place.note(not_built_on_device=str(error)[-500:])
        return build(config, place)
    return trainer


_TRACED = ("recomputed_and_compiled", "ahead_b", "vitb14")
"""checks that trace in a dry run: tracing takes most of its time"""


def image_networks(trainer: Trainer) -> tuple[Network, Network]:
    """Student and teacher of a recipe for images."""
    student, teacher = trainer.state.student_network, trainer.state.teacher_network
    assert isinstance(student, Network)
    assert isinstance(teacher, Network)
    return student, teacher


def compile_all(trainer: Trainer, place: Place) -> None:
    """Compile what the trainer itself compiles where it is told to; a dry run only traces, and once for checks that share their code."""
    if place.dry and place.name not in _TRACED:
        return
    backend = "eager" if place.dry else "inductor"
    compile_blocks(image_networks(trainer), backend=backend)
    trainer._compiled_losses = compile_losses(backend=backend)


def is_compiled(trainer: Trainer) -> bool:
    """Whether it runs compiled: a failure falls back without an error."""
    networks, losses = (trainer.state.student_network, trainer.state.teacher_network), trainer._compiled_losses
    forwards = [block.forward for network in networks for block in network.backbone.blocks]
    blocks_work = all(isinstance(forward, _CompiledBlock) and forward.attempt.works for forward in forwards)
    return blocks_work and isinstance(losses, CompiledLosses) and losses.attempt.works


def made_batch(config: PretrainConfig, *, seed: int = 0) -> Batch:
    """A batch of smooth random pictures with the recipe's own masks and dropped branches, on the CPU."""
    images, model = config.train.batch_size, config.model
    generator = torch.Generator().manual_seed(seed)

    def pictures(views: int, side: int) -> Tensor:
        coarse = torch.randint(0, 256, (views * images, 3, 5, 5), generator=generator).float()
        fine = F.interpolate(coarse, size=(side, side), mode="bilinear").round().to(torch.uint8)
        return fine.permute(0, 2, 3, 1).reshape(views, images, side, side, 3).contiguous()

    def kept(views: int) -> KeptRows | None:
        if not model.drop_path_rate or not views:
            return None
        rng = np.random.default_rng([seed, views])
        return draw_kept_rows(
            slice(0, images), batch_size=images, num_views=views, depth=num_blocks(model), rate=model.drop_path_rate, rng=rng
        )

    masks = batch_masks(2 * images, model.img_size // model.patch_size, config.mask, rng=random.Random(seed))
    return Batch(
        global_crops=pictures(2, model.img_size),
        local_crops=pictures(config.augment.num_local, config.augment.local_size),
        masks=torch.from_numpy(masks),
        hidden=torch.from_numpy(np.flatnonzero(masks)),
        mask_weights=torch.from_numpy(mask_weights(masks)),
        kept_global=kept(2),
        kept_local=kept(config.augment.num_local),
        unreadable_shards=torch.empty(0, dtype=torch.int64),
    )


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device, as if its copy cost nothing."""
    parts: dict[str, Any] = {
        name: part.to(device) if isinstance(part, Tensor | KeptRows) else part for name, part in batch._asdict().items()
    }
    return Batch(**parts)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gradients(state: TrainingState) -> dict[str, Tensor]:
    """The student's gradients by name, on the CPU in float64."""
    named = state.student_network.named_parameters()
    return {name: parameter.grad.detach().double().cpu() for name, parameter in named if parameter.grad is not None}

"""A lake with a finished pretraining run of a tiny model, its dataset and its scores, all made by hand: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pretrain.checkpoint import export_teacher, step_dir
from pretrain.config import CheckpointConfig, ModelConfig, PretrainConfig
from pretrain.identity import learning_settings
from pretrain.model import Network, build_network
from pretrain.recipes import smoke
from tests.helpers.rows import sparse_row
from warehouse.artifacts import artifact_of
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Artifact, Checkpoint, Dataset, Score
from warehouse.store import canonical_json, file_sha256

HOSTILE = ("DOE^JOHN 1957-03-14", "/mnt/pacs/Jane Roe/colon.mp4", "roe jane <img src=x onerror=alert(1)>", "| Roe |")
"""names that a hospital's files, folders and encoders may have, and no card may tell"""
LANDMARKS_ID, OWN_ID, ENCODER_ID, DATASET_ID = "1a" * 32, "2b" * 32, "3c" * 32, "4d" * 32


def model_config() -> PretrainConfig:
    """The recipe `smoke` with a smaller transformer with registers, and half its learning rate."""
    recipe = smoke()
    model = ModelConfig(
        architecture="vit_small_patch14_reg4_dinov2", img_size=28, patch_size=14, embed_dim=24, depth=2, num_heads=2, drop_path_rate=0.0
    )
    augment = replace(recipe.augment, local_size=14, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1))
    optim = replace(recipe.optim, base_lr=2e-3)
    return replace(recipe, model=model, augment=augment, optim=optim, checkpoint=CheckpointConfig(every=3))


def random_teacher(config: PretrainConfig, *, seed: int = 0) -> Network:
    """A teacher whose every weight, position embedding and token is of some size, so that each counts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(config, student=False)
        for name, tensor in network.backbone.named_parameters():
            if name in ("cls_token", "reg_token", "pos_embed") or name.endswith((".gamma", ".bias")):
                torch.nn.init.normal_(tensor, std=0.5)
        torch.nn.init.normal_(network.mask_token)
    return network


def make_model_lake(root: Path) -> Checkpoint:
    """Fill a new lake; returns the checkpoint of step 6, the best of its run."""
    config = model_config()
    with open_lake(root, create=True) as lake:
        context = RunContext(runner="serial")
        plan = plan_run(stage="ingest", version=1, config={}, inputs=())
        with record_run(lake, plan, context) as run:
            run.rows(
                "videos",
                [
                    sparse_row("videos", video_id=f"v{number}", ingest_key="k", uri=f"file://{name}", duration_s=1800.0, warning=name)
                    for number, name in enumerate(HOSTILE)
                ],
            )
            run.rows("frames", [sparse_row("frames", frame_id=f"v{n % 4}-{n}", video_id=f"v{n % 4}", ingest_key="k") for n in range(8)])
        held = Artifact(artifact_id="5e" * 32, kind="holdout", uri="tables/main/holdout")
        plan = plan_run(stage="holdout", version=1, config={}, inputs=())
        with record_run(lake, plan, context) as run:
            run.metrics.update(num_held_out_pictures=612, num_copies=7, num_excluded=31)
            run.output(held)
        plan = plan_run(stage="dedup", version=1, config={}, inputs=(held,))
        with record_run(lake, plan, context) as run:
            run.output(Artifact(artifact_id="6f" * 32, kind="dedup", uri="tables/main/dedup"))
        dataset = Dataset(dataset_id=DATASET_ID, name="colon-7k", path="shards/colon-7k", selection_id="s", num_images=8, shards=())
        plan = plan_run(stage="shard", version=1, config={}, inputs=())
        with record_run(lake, plan, context) as run:
            columns = {name: getattr(dataset, name) for name in ("dataset_id", "name", "path", "selection_id", "num_images")}
            run.rows("datasets", [sparse_row("datasets", **columns, dedup_id="6f" * 32, num_shards=1, seed=0)])
            run.rows(
                "shard_frames", [sparse_row("shard_frames", dataset_id=DATASET_ID, shard="a", frame_id=f"v{n % 4}-{n}") for n in range(8)]
            )
            run.output(artifact_of(dataset))
        plan = replace(
            plan_run(stage="pretrain", version=2, config=learning_settings(config), inputs=[artifact_of(dataset)], seed=0),
            config=canonical_json(config),
        )
        folder = step_dir(root / "runs" / plan.run_id, 6)
        export_teacher(folder, dict(random_teacher(config).state_dict()), config, card={"run_id": plan.run_id, "step": 6})
        checkpoint = Checkpoint(
            checkpoint_id=file_sha256(folder / "backbone" / "model.safetensors"),
            run_id=plan.run_id,
            step=6,
            path=(folder / "backbone").relative_to(root).as_posix(),
            validation_metric=f"{HOSTILE[0]}/val/knn_macro_f1",
            validation_score=0.5,
            is_best=True,
        )
        with record_run(lake, plan, context) as run:
            run.rows("checkpoints", [checkpoint])
            # 1 step of 8 images at 4 a second, then 2 steps at 1 a second, then 3 steps at 8 a second: 2 + 16 + 3 seconds
            speeds = ((1, 4.0), (3, 1.0), (6, 8.0))
            run.rows("train_metrics", [{"step": step, "name": "speed/images_per_s", "value": value} for step, value in speeds])
            run.metrics.update(num_steps=6, num_workers=2, num_gpus=0, energy_cpu_j=1.8e6, energy_from_step=3)
            run.output(artifact_of(checkpoint))
        plan = plan_run(stage="evaluate", version=1, config={}, inputs=[artifact_of(checkpoint)])
        with record_run(lake, plan, context) as run:
            run.rows("scores", _scores(checkpoint.checkpoint_id))
    return checkpoint


def _scores(checkpoint_id: str) -> list[Score]:
    def score(task: str, data_id: str, model_id: str, model: str, value: float, low: float, high: float, **details: str) -> Score:
        return Score(
            score_id=f"{data_id[:8]}{model_id[:8]}",
            model_id=model_id,
            model=model,
            task=task,
            data_id=data_id,
            split="test",
            head="knn",
            metric="macro_f1",
            value=value,
            ci_low=low,
            ci_high=high,
            num_items=60,
            num_groups=6,
            seed=0,
            details=details,
        )

    leaks = {"num_leaks": "2", "warnings": f"leak: patients that are scored (such as '{HOSTILE[0]}')", "splits": HOSTILE[1]}
    nan = float("nan")
    return [
        score("landmarks", LANDMARKS_ID, checkpoint_id, "pretrain-x step 6", 0.4321, 0.3, 0.55),
        score("landmarks", LANDMARKS_ID, "7a" * 32, "random weights", 0.25, 0.2, 0.3),
        score("landmarks", LANDMARKS_ID, ENCODER_ID, "efficientnet-lite0", 0.9, 0.85, 0.95),
        score(HOSTILE[2], OWN_ID, checkpoint_id, HOSTILE[3], 0.5, nan, nan, **leaks),
        score(HOSTILE[2], OWN_ID, ENCODER_ID, "doe-john", 0.6, nan, nan, **leaks),
    ]

"""A tiny dataset as curation writes it, and a recipe that a CPU trains in seconds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.config import AugmentConfig, CheckpointConfig, HeadConfig, LossConfig, ModelConfig, OptimConfig, PretrainConfig, TrainConfig

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait make a busy machine ten times slower


def write_dataset(folder: Path, jpegs: list[bytes], per_shard: int) -> Path:
    """Tars of jpg and json members, samples.parquet with the byte offsets, dataset.json with the hashes."""
    folder.mkdir(parents=True)
    rows, shards = [], []
    for first in range(0, len(jpegs), per_shard):
        path = folder / f"tiny set é-{first // per_shard:06d}.tar"
        part = jpegs[first : first + per_shard]
        with tarfile.open(path, "w") as tar:
            for number, jpeg in enumerate(part, start=first):
                for name, data in ((f"{number:08d}.jpg", jpeg), (f"{number:08d}.json", b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith(".jpg")]
        rows += [(first + i, path.name, f"f{first + i}", f"v{i % 3}", m.offset_data, m.size) for i, m in enumerate(members)]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "path": path.name, "sha256": digest, "num_bytes": path.stat().st_size, "num_images": len(part)})
    names = ("position", "shard", "frame_id", "video_id", "byte_offset", "byte_size")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), folder / "samples.parquet")
    dataset_id = hashlib.sha256("".join(str(shard["sha256"]) for shard in shards).encode()).hexdigest()
    (folder / "dataset.json").write_text(json.dumps({"dataset_id": dataset_id, "name": "tiny", "shards": shards}))
    return folder


def picture(number: int) -> bytes:
    """A JPEG of coloured blobs that differ from picture to picture."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (72, 64), interpolation=cv2.INTER_CUBIC)
    encoded: bytes = cv2.imencode(".jpg", image)[1].tobytes()
    return encoded


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path, list[bytes], int], Path]:
    return write_dataset


@pytest.fixture(scope="session")
def make_picture() -> Callable[[int], bytes]:
    return picture


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("datasets") / "tiny", [picture(number) for number in range(14)], 5)


@pytest.fixture(scope="session")
def micro() -> PretrainConfig:
    """Every part of the recipe, small: stochastic depth, both heads, local crops, three checkpoints."""
    head = HeadConfig(num_prototypes=24, hidden_dim=16, bottleneck_dim=8)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_patch16_224",
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=2,
            drop_path_rate=0.3,
        ),
        dino_head=head,
        ibot_head=head,
        augment=AugmentConfig(local_size=16, num_local=2),
        loss=LossConfig(teacher_temperature_warmup_steps=3),
        optim=OptimConfig(base_lr=1e-2, warmup_steps=2, freeze_last_layer_steps=1, teacher_momentum=0.9),
        train=TrainConfig(num_steps=9, batch_size=4, seed=5, log_every=1, num_loader_workers=0),
        checkpoint=CheckpointConfig(every=3),
    )

"""Test images among the training frames: found by picture, unknown for clips and where the encoder is not here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from curation.embedding import EmbedConfig
from curation.packs import read_frame
from evaluation.config import EvaluateConfig
from evaluation.tasks import Item, TaskData, fingerprint
from flows.job import Job
from flows.runners import make_runner
from flows.stages import run_embed
from flows.stages.leaks import pretraining_overlap
from tests.helpers.films import tissue, write_video
from tests.helpers.ingests import ingest
from tests.helpers.rows import sparse_row
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Artifact, Checkpoint


def train_on(lake: Lake, *dataset_ids: str) -> str:
    given, name = [Artifact(artifact_id=one, kind="dataset", uri=one) for one in dataset_ids], "+".join(dataset_ids)
    with record_run(lake, plan_run(stage="pretrain", version=1, config=name, inputs=given), RunContext(runner="serial")) as run:
        told = {"step": 1, "path": "p", "validation_metric": "m", "validation_score": 0.5, "is_best": True}
        run.rows("checkpoints", [Checkpoint(checkpoint_id=name, run_id=run.run_id, **told)])  # type: ignore[arg-type]
    return name


def test_what_a_model_learned_from_is_overlap_clean_or_unknown(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", [tissue(n) for n in range(3)])
    with open_lake(tmp_path / "lake", create=True) as lake:
        ingest(lake, film)
        run_embed(Job(lake=lake, runner=make_runner("serial", None)), config=EmbedConfig(device="cpu"))
        frames = lake.rows("SELECT frame_id, pack_path, byte_offset, byte_size FROM candidates ORDER BY frame_id")
        with record_run(lake, plan_run(stage="shard", version=1, config={}, inputs=()), RunContext(runner="serial")) as run:
            sets = [sparse_row("datasets", dataset_id=d, name=d, path=d, selection_id="s", num_images=1) for d in ("stills", "clips")]
            run.rows("datasets", sets)
            run.rows("shard_frames", [sparse_row("shard_frames", dataset_id="stills", shard="a", frame_id=f["frame_id"]) for f in frames])
            run.rows("shard_clips", [sparse_row("shard_clips", dataset_id="clips", shard="a", clip_id="c")])
        first = frames[0]
        jpeg = read_frame(lake.root / first["pack_path"], first["byte_offset"], first["byte_size"])
        seen = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
        cv2.imwrite(str(tmp_path / "copy.png"), seen[:, ::-1])
        cv2.imwrite(str(tmp_path / "other.png"), tissue(77))

        def verdict(checkpoint: str, item: Item) -> str:
            task = TaskData(name="t", kind="classification", items=(item,), classes=("a", "b"))
            return pretraining_overlap(lake, checkpoint, task, fingerprint(task), tmp_path, EvaluateConfig(device="cpu"))

        copy = Item(path=str(tmp_path / "copy.png"), split="test", group="g", label="a")
        other = replace(copy, path=str(tmp_path / "other.png"))
        stills, both = train_on(lake, "stills"), train_on(lake, "stills", "clips")
        assert [verdict(stills, item) for item in (copy, other)] == ["overlap 1", "clean"]
        assert verdict(both, other) == "unknown", "most frames of clips were never embedded"
        assert verdict(stills, replace(other, path=str(film), span=(0.0, 1.0))) == "unknown", "a clip is not opened as a picture"
        encoder_id = lake.rows("SELECT encoder_id FROM embeddings LIMIT 1")[0]["encoder_id"]
        gone = {"encoder": "no-such-encoder", "encoder_id": encoder_id}
        with record_run(lake, plan_run(stage="embed", version=1, config=gone, inputs=()), RunContext(runner="serial")):
            pass
        assert verdict(stills, replace(other, box=(0, 0, 60, 60))) == "unknown", "its encoder is not here"

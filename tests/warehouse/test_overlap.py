from __future__ import annotations

from pathlib import Path

from tests.helpers.rows import sparse_row
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.overlap import held_out_lists, learned_elsewhere, num_in_datasets, training_datasets
from warehouse.records import Artifact, Checkpoint


def test_a_checkpoint_has_learned_from_its_own_dataset_and_from_that_of_the_one_it_started_from(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake", create=True) as lake:
        context = RunContext(runner="serial")
        held, listed = Artifact(artifact_id="h", kind="holdout", uri="h"), Artifact(artifact_id="list", kind="holdout_list", uri="test")
        dedup = Artifact(artifact_id="dd", kind="dedup", uri="d")
        with record_run(lake, plan_run(stage="holdout", version=1, config={}, inputs=[listed]), context) as run:
            run.output(held)
        with record_run(lake, plan_run(stage="dedup", version=1, config={}, inputs=[held]), context) as run:
            run.output(dedup)
        with record_run(lake, plan_run(stage="shard", version=1, config={}, inputs=()), context) as run:
            sets = [("one", "dd"), ("two", None)]
            run.rows(
                "datasets",
                [sparse_row("datasets", dataset_id=d, name=d, path=d, selection_id="s", num_images=1, dedup_id=u) for d, u in sets],
            )
            run.rows("frames", [sparse_row("frames", frame_id=f"f{n}", video_id="v", ingest_key="k", sha256=f"sha{n}") for n in range(4)])
            shards = [("one", "f0"), ("one", "f1"), ("two", "f2")]
            run.rows("shard_frames", [sparse_row("shard_frames", dataset_id=d, shard="a", frame_id=f) for d, f in shards])
        weights, other = (Artifact(artifact_id=name, kind=kind, uri="w") for name, kind in (("w", "weights"), ("o", "checkpoint")))
        inputs = {
            "first": [Artifact(artifact_id="one", kind="dataset", uri="one")],
            "from a file": [Artifact(artifact_id="one", kind="dataset", uri="one"), weights],
            "from another lake": [Artifact(artifact_id="one", kind="dataset", uri="one"), other],
            "second": [Artifact(artifact_id="two", kind="dataset", uri="two"), Artifact(artifact_id="first", kind="checkpoint", uri="c")],
        }
        for name, given in inputs.items():
            with record_run(lake, plan_run(stage="pretrain", version=1, config={"name": name}, inputs=given), context) as run:
                checkpoint = Checkpoint(
                    checkpoint_id=name, run_id=run.run_id, step=1, path="p", validation_metric="m", validation_score=0.5, is_best=True
                )
                run.rows("checkpoints", [checkpoint])
        assert [learned_elsewhere(lake, name) for name in inputs] == [False, True, True, False]
        assert training_datasets(lake, "first") == ("one",)
        assert training_datasets(lake, "second") == ("one", "two")
        assert training_datasets(lake, "from elsewhere") == ()
        assert num_in_datasets(lake, ["sha0", "sha0", "sha1", "sha3", "other"], ["one"]) == 2
        assert num_in_datasets(lake, ["sha2"], ["one"]) == 0
        assert held_out_lists(lake, "one") == frozenset({"list"})
        assert held_out_lists(lake, "two") == frozenset()

"""Videos that come after a tree of clusters was made: placed in it, or the reason for a new one."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from curation.clustering.config import ClusterConfig
from flows.config import RunConfig
from flows.job import Job
from flows.runners.runners import RunnerName, SerialRunner, make_runner
from flows.stages.cluster import run_cluster
from flows.stages.order import STAGES
from flows.stages.place import Fit
from flows.stages.stage import Made
from tests.helpers.rows import sparse_row
from warehouse import queries
from warehouse.ancestry import LineageNode, lineage
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Artifact, EmbeddingPart
from warehouse.schema import TABLES, embedding_schema
from warehouse.store import file_sha256, write_parquet

DIM = 16
CONFIG = ClusterConfig(num_clusters=(12, 3), num_resamples=1)


def unit(num: int, *, seed: int, shift: float = 0.0) -> npt.NDArray[np.float16]:
    """Unit vectors around twelve directions that are the same for every seed; shifted ones leave them."""
    directions = np.random.default_rng(99).standard_normal((12, DIM))
    rng = np.random.default_rng(seed)
    points = directions[rng.integers(12, size=num)] + 0.3 * rng.standard_normal((num, DIM)) + shift * rng.standard_normal((num, DIM))
    made: npt.NDArray[np.float16] = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    return made


@dataclass
class Archive:
    """A lake whose videos are vectors: ingest, embedding and deduplication are written down without being done."""

    job: Job

    @property
    def lake(self) -> Lake:
        return self.job.lake

    def add_video(self, name: str, vectors: npt.NDArray[np.float16]) -> Artifact:
        """One more video with all its frames kept and embedded."""
        plan = plan_run(stage="ingest", version=1, config={"video": name}, inputs=[])
        ids = [f"{name}-{number:04d}" for number in range(len(vectors))]
        path = self.lake.root / f"{name}.parquet"
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
        write_parquet(path, pa.table({"frame_id": ids, "embedding": lists}, schema=embedding_schema(DIM)))
        part = EmbeddingPart(
            part_id=file_sha256(path), pack_id=f"pack-{name}", encoder_id="enc", path=path.name, num_frames=len(ids), dim=DIM
        )
        keys = {"video_id": name, "ingest_key": "key", "pack_id": part.pack_id}
        with record_run(self.lake, plan, RunContext(runner="serial")) as run:
            run.rows("videos", [sparse_row("videos", **keys, uri=f"file:///{name}.mp4", status="ok")])
            run.rows("packs", [sparse_row("packs", **keys, path=f"{name}.tar", num_frames=len(ids))])
            run.rows("frames", [sparse_row("frames", **keys, frame_id=frame_id, pts_us=n, keep=True) for n, frame_id in enumerate(ids)])
            run.rows("embeddings", [part])
            run.output(Artifact(artifact_id=part.pack_id, kind="frame_pack", uri=f"{name}.tar"))
        return Artifact(artifact_id=part.part_id, kind="embedding_part", uri=part.path)

    def dedup(self, name: str, *, duplicates: Sequence[str] = ()) -> Artifact:
        """A deduplication of all candidates that leaves out those."""
        parts = queries.embedding_parts(self.lake, "enc")
        inputs = [Artifact(artifact_id=part.part_id, kind="embedding_part", uri=part.path) for part in parts]
        plan = plan_run(stage="dedup", version=1, config={"name": name}, inputs=inputs)
        frames = [row["frame_id"] for row in self.lake.rows("SELECT frame_id FROM candidates ORDER BY frame_id")]
        made = Artifact(artifact_id=name, kind="dedup", uri="tables/main/dedup", num_rows=len(frames))
        rows = [sparse_row("dedup", dedup_id=name, frame_id=frame, cluster_id=0, is_duplicate=frame in duplicates) for frame in frames]
        with record_run(self.lake, plan, RunContext(runner="serial")) as run:
            run.rows("dedup", rows)
            run.output(made)
        return made

    def cluster(self, dedup: Artifact, config: ClusterConfig = CONFIG) -> tuple[Artifact, Artifact | None]:
        return run_cluster(self.job, parts=queries.embedding_parts(self.lake, "enc"), dedup=dedup, config=config, seed=0)

    def select(self, dedup: Artifact, tree: Artifact, placement: Artifact | None, size: int = 10_000) -> list[str]:
        (stage,) = (stage for stage in STAGES if stage.name == "select")
        parts = queries.embedding_parts(self.lake, "enc")
        config = RunConfig(lake=self.lake.root, size=size)
        selection = stage.run(self.job, config, Made(parts=parts, tree=tree, placement=placement, dedup=dedup)).selection
        assert selection
        rows = self.lake.rows("SELECT frame_id FROM selections WHERE selection_id = $1 ORDER BY 1", [selection.artifact_id])
        return [row["frame_id"] for row in rows]


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two videos under a tree."""
    root = tmp_path_factory.mktemp("clustered")
    with open_lake(root, create=True) as lake:
        archive = Archive(Job(lake=lake, runner=SerialRunner()))
        archive.add_video("a", unit(150, seed=1))
        archive.add_video("b", unit(150, seed=2))
        archive.cluster(archive.dedup("first"))
    return root


@pytest.fixture
def archive(clustered: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    shutil.copytree(clustered, tmp_path / "lake")
    with open_lake(tmp_path / "lake") as lake:
        yield Archive(Job(lake=lake, runner=SerialRunner()))


def first_tree(archive: Archive) -> str:
    return str(archive.lake.rows("SELECT artifact_id FROM artifacts WHERE kind = 'cluster_tree'")[0]["artifact_id"])


def metrics(archive: Archive, stage: str) -> list[str]:
    return [row["metrics"] for row in archive.lake.rows("SELECT metrics FROM runs WHERE stage = $1 ORDER BY ended_at", [stage])]


def test_frames_of_a_new_video_are_placed_in_the_tree_that_is_there(archive: Archive) -> None:
    tree_before = first_tree(archive)
    rows_before = archive.lake.rows("FROM clusters ORDER BY ALL")
    vectors = unit(40, seed=3)
    archive.add_video("c", vectors)
    dedup = archive.dedup("second")
    tree, placement = archive.cluster(dedup)
    assert tree.artifact_id == tree_before
    assert placement is not None
    added = archive.lake.rows("SELECT * FROM clusters WHERE starts_with(frame_id, 'c-') ORDER BY frame_id, level")
    assert archive.lake.rows("FROM clusters WHERE NOT starts_with(frame_id, 'c-') ORDER BY ALL") == rows_before
    assert len(added) == 40 * 2

    tensors = load_file(archive.lake.root / tree.uri)
    away = np.linalg.norm(vectors.astype(np.float32)[:, None] - tensors["centroids_1"], axis=2)
    nearest = away.argmin(axis=1)
    assert [row["cluster_id"] for row in added if row["level"] == 1] == nearest.tolist()
    np.testing.assert_allclose([row["distance"] for row in added if row["level"] == 1], away.min(axis=1), atol=1e-3)
    assert [row["cluster_id"] for row in added if row["level"] == 2] == tensors["assignment_2"][nearest].tolist()
    parents = archive.lake.rows("SELECT frame_id, list(cluster_id ORDER BY level) AS p FROM clusters GROUP BY frame_id")
    assert len({tuple(row["p"]) for row in parents}) == 12  # still a tree: each finest cluster has one parent

    assert archive.cluster(dedup) == (tree, placement)  # again: nothing is done twice
    assert len(metrics(archive, "place")) == 1
    newer, placement = archive.cluster(dedup, replace(CONFIG, max_growth=1.1))  # there are 340 / 300 as many
    assert newer.artifact_id != tree.artifact_id
    assert placement is None


def test_frames_are_placed_alike_by_blocks_and_in_memory(archive: Archive) -> None:
    archive.add_video("c", unit(40, seed=3))
    archive.cluster(archive.dedup("second"), replace(CONFIG, max_memory_gb=1e-6))
    by_blocks = archive.lake.rows("SELECT frame_id, level, cluster_id FROM clusters WHERE starts_with(frame_id, 'c-') ORDER BY ALL")
    archive.lake.query("DELETE FROM clusters WHERE starts_with(frame_id, 'c-')")
    archive.add_video("d", unit(1, seed=4))
    archive.cluster(archive.dedup("third"))
    assert archive.lake.rows("SELECT frame_id, level, cluster_id FROM clusters WHERE starts_with(frame_id, 'c-') ORDER BY ALL") == by_blocks


@pytest.mark.parametrize("refit", ["never", "auto", "always"])
def test_frames_unlike_the_old_ones_make_auto_refit(refit: Literal["never", "auto", "always"], archive: Archive) -> None:
    archive.add_video("odd", unit(60, seed=5, shift=2.0))  # of 360 frames then: growth is no reason
    dedup = archive.dedup("second")
    config = replace(CONFIG, refit=refit)
    tree, placement = archive.cluster(dedup, config)
    assert (tree.artifact_id == first_tree_id(archive)) == (refit == "never")
    assert (placement is not None) == (refit == "never")
    if refit == "never":
        assert '"drift": ' in metrics(archive, "place")[0]
        drift = float(archive.lake.rows("SELECT (metrics ->> 'drift')::DOUBLE AS d FROM runs WHERE stage = 'place'")[0]["d"])
        assert drift > 1.5
        # auto, asked later of the same frames, does not take the placement for an answer
        newer, _ = archive.cluster(dedup, replace(CONFIG, refit="auto"))
        assert newer.artifact_id != tree.artifact_id
    if refit == "auto":
        assert '"replaced_drift": ' in metrics(archive, "cluster")[-1]
    again = archive.cluster(dedup, replace(CONFIG, refit="auto"))
    assert again[1] is None
    assert len(metrics(archive, "cluster")) == 2


def first_tree_id(archive: Archive) -> str:
    rows = archive.lake.rows(
        """SELECT e.artifact_id FROM runs r JOIN edges e ON e.run_id = r.run_id AND e.direction = 'output'
           WHERE r.stage = 'cluster' ORDER BY r.ended_at LIMIT 1"""
    )
    return str(rows[0]["artifact_id"])


def test_other_settings_or_another_encoder_share_no_tree(archive: Archive) -> None:
    archive.add_video("c", unit(40, seed=3))
    dedup = archive.dedup("second")
    tree, placement = archive.cluster(dedup, replace(CONFIG, num_clusters=(10, 3)))
    assert placement is None
    assert tree.artifact_id != first_tree(archive)


def test_only_what_is_unique_now_is_selected(archive: Archive) -> None:
    tree = Artifact(artifact_id=first_tree_id(archive), kind="cluster_tree", uri="")
    everything = archive.select(Artifact(artifact_id="first", kind="dedup", uri=""), tree, None)
    assert len(everything) == 300
    archive.add_video("c", unit(40, seed=3))
    gone = ["a-0000", "b-0149"]
    dedup = archive.dedup("second", duplicates=gone)
    tree, placement = archive.cluster(dedup)
    assert tree.artifact_id == first_tree_id(archive)
    chosen = archive.select(dedup, tree, placement)
    assert len(chosen) == 338
    assert not set(gone) & set(chosen)
    assert "c-0000" in chosen


def test_views_of_an_earlier_dataset_do_not_count_later_frames(archive: Archive) -> None:
    tree = first_tree_id(archive)
    row = {"dataset_id": "d", "name": "set", "dedup_id": "first", "tree_id": tree, "selection_id": "s", "encoder_id": "enc"}
    archive.lake.append("datasets", pa.Table.from_pylist([row], schema=TABLES["datasets"]))
    ask = "SELECT level, sum(num_frames)::BIGINT AS n FROM per_cluster WHERE dataset = 'set' GROUP BY level ORDER BY level"
    assert archive.lake.rows(ask) == [{"level": 1, "n": 300}, {"level": 2, "n": 300}]
    archive.add_video("c", unit(40, seed=3))
    assert archive.cluster(archive.dedup("second"))[1] is not None
    assert archive.lake.rows(ask) == [{"level": 1, "n": 300}, {"level": 2, "n": 300}]


def labels(node: LineageNode) -> list[str]:
    return [node.label, *(label for child in node.children for label in labels(child))]


def test_a_selection_descends_from_the_tree_the_placement_and_the_new_video(archive: Archive) -> None:
    part = archive.add_video("c", unit(40, seed=3))
    dedup = archive.dedup("second")
    tree, placement = archive.cluster(dedup)
    assert placement is not None
    archive.select(dedup, tree, placement, size=20)
    (selection,) = archive.lake.rows("SELECT artifact_id FROM artifacts WHERE kind = 'selection'")
    ancestors = {row["artifact_id"] for row in archive.lake.rows("FROM ancestry($1)", [selection["artifact_id"]])}
    assert {tree.artifact_id, placement.artifact_id, dedup.artifact_id, "first", part.artifact_id} <= ancestors
    origins, _ = lineage(archive.lake, selection["artifact_id"])
    assert any("(place, complete" in label for label in labels(origins))


@pytest.mark.parametrize("runner", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_clustering_and_placing_by_blocks_are_the_same_in_this_process_and_in_others(runner: RunnerName, archive: Archive) -> None:
    config = replace(CONFIG, num_clusters=(11, 3), refit="always", max_memory_gb=200 * DIM * 16 / 1e9)
    others = Archive(Job(lake=archive.lake, runner=make_runner(runner, 2)))
    here, _ = archive.cluster(archive.dedup("same frames"), config)
    elsewhere, _ = others.cluster(archive.dedup("same again"), config)
    ask = "SELECT frame_id, level, cluster_id FROM clusters WHERE tree_id = $1 ORDER BY ALL"
    assert here.artifact_id != elsewhere.artifact_id
    assert archive.lake.rows(ask, [here.artifact_id]) == archive.lake.rows(ask, [elsewhere.artifact_id])

    archive.add_video("c", unit(40, seed=3))
    tree, placement = others.cluster(archive.dedup("second"), replace(config, refit="never"))
    assert placement is not None
    assert tree == elsewhere
    placed = archive.lake.rows(ask, [tree.artifact_id])
    assert len(placed) == 2 * 340
    archive.lake.query("DELETE FROM clusters WHERE starts_with(frame_id, 'c-')")
    archive.add_video("d", unit(1, seed=4))
    assert archive.cluster(archive.dedup("third"), replace(config, refit="never"))[0] == tree
    again = "SELECT frame_id, level, cluster_id FROM clusters WHERE tree_id = $1 AND NOT starts_with(frame_id, 'd-') ORDER BY ALL"
    assert archive.lake.rows(again, [tree.artifact_id]) == placed
    assert not list((archive.lake.root / "staging").rglob("*.npy"))


def test_growth_and_drift_object_at_the_stated_factors() -> None:
    assert Fit(drift=1.5, growth=2.0).objection(CONFIG) is None
    assert Fit(drift=0.5, growth=0.5).objection(CONFIG) is None
    assert "1.51 times as far" in (Fit(drift=1.51, growth=1.0).objection(CONFIG) or "")
    assert "0.49 times as many" in (Fit(drift=1.0, growth=0.49).objection(CONFIG) or "")


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_cells_are_the_same_in_this_process_and_in_others(
    name: Literal["processes", "ray"], archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.clustering.splitting._SPLIT_FROM", 20)
    config = replace(CONFIG, num_clusters=(25, 3), refit="always", max_memory_gb=200 * DIM * 16 / 1e9)
    here, _ = archive.cluster(archive.dedup("same frames"), config)
    elsewhere, _ = Archive(Job(lake=archive.lake, runner=make_runner(name, 2))).cluster(archive.dedup("same again"), config)
    ask = "SELECT frame_id, level, cluster_id, distance FROM clusters WHERE tree_id = $1 ORDER BY ALL"
    assert here.artifact_id != elsewhere.artifact_id
    assert archive.lake.rows(ask, [here.artifact_id]) == archive.lake.rows(ask, [elsewhere.artifact_id])
    assert not list((archive.lake.root / "staging").rglob("*.np?"))

"""Vectors of an earlier version of embedding: never compared with those of the present one, by no stage."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.clustering.config import ClusterConfig
from curation.config import CurateConfig
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import EMBED_VERSION
from curation.embedding.vectors import read_part
from curation.ingest.config import IngestConfig
from flows.job import Job
from flows.planning.plan import plan_curate
from flows.runners.runners import make_runner
from flows.stages.curate import run_curate
from flows.stages.embed import run_embed
from flows.stages.ingest import run_ingest
from tests.flows.conftest import make_archive
from warehouse.lake import open_lake
from warehouse.queries import embedding_parts
from warehouse.schema import embedding_schema
from warehouse.store import file_sha256

CONFIG = EmbedConfig(image_size=64)
CURATE = CurateConfig(size=8, cluster=ClusterConfig(num_clusters=(4, 2), refit="never"))


def ingest(job: Job, *videos: Path) -> str:
    run_ingest(job, [str(video) for video in videos], config=IngestConfig(fps=4, text="off", settle_s=0))
    return run_embed(job, config=CONFIG)


def vectors(job: Job, encoder_id: str) -> dict[str, tuple[float, ...]]:
    """The vector of every embedded frame."""
    found: dict[str, tuple[float, ...]] = {}
    for part in embedding_parts(job.lake, encoder_id):
        ids, values = read_part(job.lake.root / part.path, part.dim)
        found |= {frame_id: tuple(value.tolist()) for frame_id, value in zip(ids, values, strict=True)}
    return found


def planned(job: Job) -> str:
    return plan_curate(job, name="x", encoder=None, config=CURATE)


def make_old(job: Job, encoder_id: str) -> None:
    """Let everything that is embedded be of an earlier version, whose vectors were others: each one's numbers the other way round."""
    for part in embedding_parts(job.lake, encoder_id):
        ids, values = read_part(job.lake.root / part.path, part.dim)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values[:, ::-1]).reshape(-1)), part.dim)
        path = part.path.replace(f"/v{EMBED_VERSION}/", "/")  # the first versions had no folders of their own
        pq.write_table(pa.table({"frame_id": ids, "embedding": lists}, schema=embedding_schema(part.dim)), job.lake.root / path)
        for kept in (job.lake.root / part.path, (job.lake.root / part.path).with_suffix(".json")):
            kept.unlink()
        old_id = file_sha256(job.lake.root / path)
        for table, column, place in (("embeddings", "part_id", "path"), ("artifacts", "artifact_id", "uri")):
            job.lake.query(f"UPDATE {table} SET {column} = $1, {place} = $2 WHERE {column} = $3", [old_id, path, part.part_id])
        job.lake.query("UPDATE edges SET artifact_id = $1 WHERE artifact_id = $2", [old_id, part.part_id])
    job.lake.query("UPDATE runs SET stage_version = $1, stage_key = 'old ' || stage_key WHERE stage = 'embed'", [EMBED_VERSION - 1])


def test_old_vectors_are_made_anew_and_their_tree_is_left(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "archive", ("one.mp4", "two.mp4"))
    with open_lake(tmp_path / "fresh", create=True) as lake:
        job = Job(lake=lake, runner=make_runner("serial"))
        expected = vectors(job, ingest(job, archive))
    with open_lake(tmp_path / "lake", create=True) as lake:
        job = Job(lake=lake, runner=make_runner("serial"))
        encoder_id = ingest(job, archive / "one.mp4")
        make_old(job, encoder_id)
        old = vectors(job, encoder_id)
        run_curate(job, name="old", encoder_id=encoder_id, config=CURATE)  # nothing but old vectors: they may be used

        assert planned(job).splitlines()[1].split()[:2] == ["embed", "16"]
        assert ingest(job, archive) == encoder_id
        assert planned(job).splitlines()[1].split() == ["embed", "done"]
        found = vectors(job, encoder_id)
        assert found == expected
        assert all(old[frame_id] != found[frame_id] for frame_id in old)
        assert lake.rows("SELECT count(*) AS n, count(DISTINCT pack_id) AS packs FROM embeddings") == [{"n": 2, "packs": 2}]
        run_curate(job, name="new", encoder_id=encoder_id, config=CURATE)
        parts = lake.rows("SELECT DISTINCT artifact_id, uri FROM artifacts WHERE kind = 'embedding_part'")
        assert len(parts) == 3
        assert all(file_sha256(lake.root / part["uri"]) == part["artifact_id"] for part in parts)  # the old one's file is what it was
        trees = {row["name"]: row["tree_id"] for row in lake.rows("SELECT name, tree_id FROM datasets")}
        assert trees["old"] != trees["new"]
        assert run_embed(job, config=CONFIG) == encoder_id
        assert lake.rows("SELECT count(*) AS n FROM runs WHERE stage = 'embed'") == [{"n": 2}]

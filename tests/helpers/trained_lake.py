"""A lake with one tiny dataset, as curation leaves it, for tests of what comes after."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.shards import picture, write_dataset
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Dataset
from warehouse.store import read_json


def make_lake(root: Path) -> Path:
    """A lake with the dataset `tiny`: 14 frames of three videos, a second apart."""
    with open_lake(root, create=True) as lake:
        folder = write_dataset(root / "shards" / "tiny", [picture(number) for number in range(14)], 5)
        samples = pq.read_table(folder / "samples.parquet")
        named = pa.array([f"v{number % 3}-{number * 1_000_000}" for number in range(14)])
        pq.write_table(samples.set_column(samples.schema.get_field_index("frame_id"), "frame_id", named), folder / "samples.parquet")
        told = read_json(folder / "dataset.json")
        found = Dataset(dataset_id=told["dataset_id"], name="tiny", path="shards/tiny", selection_id="s", num_images=14, shards=())
        plan = plan_run(stage="shard", version=1, config={}, inputs=())
        with record_run(lake, plan, RunContext(runner="serial")) as run:
            row = {"kind": "images", "dedup_id": None, "tree_id": None, "encoder_id": None, "num_shards": len(told["shards"]), "seed": 0}
            columns = {"dataset_id": found.dataset_id, "name": "tiny", "path": found.path, "selection_id": "s", "num_images": 14}
            run.rows("datasets", [row | columns])
            run.rows(
                "shards",
                [
                    {"dataset_id": found.dataset_id, "shard": shard["name"], "path": f"shards/tiny/{shard['name']}"}
                    | {name: shard[name] for name in ("sha256", "num_bytes", "num_images")}
                    for shard in told["shards"]
                ],
            )
    return root

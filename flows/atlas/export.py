"""The atlas as static files, which a browser opens from a folder without any server."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.atlas.details import part_script
from flows.atlas.parts import all_parts
from flows.atlas.points import Atlas
from flows.atlas.script import as_script
from flows.atlas.server import PAGES, page, picture
from flows.job import Job
from warehouse.lake import Lake
from warehouse.lineage import by_person, plan_run
from warehouse.records import Artifact
from warehouse.store import file_sha256

__all__ = ["export_atlas"]


def export_atlas(job: Job, atlas: Atlas, folder: Path) -> Path:
    """Write the page, its points, pictures and details, and points.parquet for other tools; all or nothing. Returns the page.

    The lake records who did so.

    Raises:
        FileExistsError: the folder is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give a new folder")
    now = datetime.datetime.now(datetime.UTC).isoformat()
    told = {"path": str(folder.absolute()), "num_frames": len(atlas.frame_ids), "at": now}
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with job.record(by_person(plan_run(stage="export_atlas", version=1, config=told, inputs=[]))) as run:
            _fill(partial, job.lake, atlas)
            digest = file_sha256(partial / "points.parquet")
            uri = folder.absolute().as_uri()
            run.output(Artifact(artifact_id=digest, kind="atlas_export", uri=uri, sha256=digest, num_rows=len(atlas.frame_ids)))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / "index.html"


def _fill(partial: Path, lake: Lake, atlas: Atlas) -> None:
    (partial / "pictures").mkdir(parents=True)
    for name in PAGES:
        (partial / name).write_bytes(page(name))
    (partial / "points.js").write_bytes(as_script(atlas))
    for number, place in enumerate(atlas.pictures):
        (partial / "pictures" / f"{number}.jpg").write_bytes(picture(place))
    for name, content in all_parts(lake, atlas):
        path = partial / "parts" / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part_script(name, content))
    pq.write_table(_table(atlas), partial / "points.parquet", compression="zstd")


def _table(atlas: Atlas) -> pa.Table:
    columns = {"frame_id": atlas.frame_ids, "x": atlas.positions[:, 0], "y": atlas.positions[:, 1], "second": atlas.seconds}
    colours = atlas.colours | {each.colour: each.words for each in atlas.predictions}
    columns |= {f"{each.colour} probability": each.probabilities for each in atlas.predictions}
    return pa.table({name.replace(" ", "_"): values for name, values in (columns | colours).items()})

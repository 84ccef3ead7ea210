"""The atlas as static files, which a browser opens from a folder without any server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.atlas.details import part_script
from flows.atlas.parts import all_parts
from flows.atlas.points import Atlas, as_script
from flows.atlas.server import PAGES, page, picture
from warehouse.lake import Lake

__all__ = ["export_atlas"]


def export_atlas(lake: Lake, atlas: Atlas, folder: Path) -> Path:
    """Write the page, its points, pictures and details, and points.parquet for other tools; all or nothing. Returns the page.

    Raises:
        FileExistsError: the folder is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
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
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / "index.html"


def _table(atlas: Atlas) -> pa.Table:
    columns = {"frame_id": atlas.frame_ids, "x": atlas.positions[:, 0], "y": atlas.positions[:, 1], "second": atlas.seconds}
    return pa.table(columns | {name.replace(" ", "_"): words for name, words in atlas.colours.items()})

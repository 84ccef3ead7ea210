"""Make a lake whose catalog is a Postgres database, or whose tables lie in an S3 store."""

from __future__ import annotations

from pathlib import Path

from warehouse.catalog import CATALOG_FILE, LakeError, catalog_of, has_lake, parse_catalog, write_catalog_file
from warehouse.data_path import WITNESS, claim, refuse_taken, take_over
from warehouse.lake import open_lake
from warehouse.local_path import local_path
from warehouse.postgres import folder_of
from warehouse.private_files import make_private_folder
from warehouse.table_store import data_below

__all__ = ["make_lake"]


def make_lake(folder: Path, catalog: str | None = None, *, data: str | None = None, is_taken_over: bool = False) -> Path:
    """Make an empty lake in `folder`; returns its path. Interrupted, it can be repeated.

    Args:
        folder: of the lake, which keeps everything but what the others keep.
        catalog: a database such as `ducklake:postgres:dbname=lake host=db`; a SQLite file in the folder unless given.
        data: URI below which the files of the tables are to lie, such as `s3://bucket/lake`; the folder unless given.
        is_taken_over: the lake is there with its tables below that URI, and is to own them (see `warehouse.data_path.take_over`).

    Raises:
        LakeError: the folder, the catalog or the place of the tables holds something else, or one of them is of no kind that is supported.
        OSError: the store cannot be reached.
    """
    wanted = parse_catalog(catalog) if catalog is not None else None
    data_path = data_below(data) if data is not None else None
    folder = local_path(folder, what="the lake").absolute()
    if has_lake(folder) and wanted is not None and catalog_of(folder) != wanted:
        raise LakeError(f"there is a lake in {folder} with the catalog {catalog_of(folder).text}; give another folder")
    if not has_lake(folder) and folder.is_dir() and any(path.name != WITNESS for path in folder.iterdir()):
        raise LakeError(f"{folder} is not empty; give a folder of its own for the lake")
    if wanted is not None:
        other = folder_of(wanted)
        if other is not None and other != folder:
            raise LakeError(f"{wanted.text} is the catalog of the lake in {other}; give each lake a database of its own")
    if is_taken_over:
        return _take_over(folder, data_path)
    if data_path is not None:
        refuse_taken(data_path, folder, wanted or catalog_of(folder))
    make_private_folder(folder)
    if data_path is not None:
        claim(data_path, folder, wanted or catalog_of(folder))
    if wanted is not None and not (folder / CATALOG_FILE).is_file():
        write_catalog_file(folder, wanted)
    with open_lake(folder, create=True, data_path=data_path) as lake:
        if data_path is not None and lake.data_path != data_path:
            raise LakeError(f"there is a lake in {folder} with its tables in {lake.data_path}; give another folder")
    return folder


def _take_over(folder: Path, data_path: str | None) -> Path:
    with open_lake(folder, read_only=True) as lake:
        if data_path is None or lake.data_path != data_path:
            raise LakeError(f"the lake in {folder} has its tables in {lake.data_path}; give that place as it is")
        take_over(data_path, folder, lake.catalog)
    return folder

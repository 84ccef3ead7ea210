"""Make a lake whose catalog is a Postgres database."""

from __future__ import annotations

from pathlib import Path

from warehouse.catalog import CATALOG_FILE, LakeError, catalog_of, has_lake, parse_catalog, write_catalog_file
from warehouse.lake import open_lake
from warehouse.local_path import local_path
from warehouse.postgres import folder_of
from warehouse.private_files import make_private_folder

__all__ = ["make_lake"]


def make_lake(folder: Path, catalog: str) -> Path:
    """Make an empty lake in `folder` with a catalog such as `ducklake:postgres:dbname=lake host=db`; returns its path.

    Interrupted, it can be repeated.

    Raises:
        LakeError: the folder holds something else, the catalog is of another lake, of another kind or cannot be reached.
    """
    wanted = parse_catalog(catalog)
    folder = local_path(folder, what="the lake").absolute()
    if has_lake(folder) and catalog_of(folder) != wanted:
        raise LakeError(f"there is a lake in {folder} with the catalog {catalog_of(folder).text}; give another folder")
    if not has_lake(folder) and folder.is_dir() and any(folder.iterdir()):
        raise LakeError(f"{folder} is not empty; give a folder of its own for the lake")
    other = folder_of(wanted)
    if other is not None and other != folder:
        raise LakeError(f"{wanted.text} is the catalog of the lake in {other}; give each lake a database of its own")
    make_private_folder(folder)
    if not (folder / CATALOG_FILE).is_file():
        write_catalog_file(folder, wanted)
    open_lake(folder, create=True).close()
    return folder

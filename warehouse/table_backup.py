"""Tables that lie in a store, for a backup of their lake: the backup has their files itself, so it needs the store no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from warehouse.catalog import Catalog, LakeError
from warehouse.lake import open_lake
from warehouse.maintenance import live_sizes
from warehouse.table_store import fetch

__all__ = ["fetch_new", "table_sizes"]

_FOLDER = "tables/"


def table_sizes(root: Path, frozen: Path) -> dict[str, int]:
    """Sizes in bytes of the files that a frozen catalog names, by name below the lake's root."""
    with open_lake(root, read_only=True, catalog=Catalog(kind="sqlite", where=str(frozen))) as lake:
        return {f"{_FOLDER}{name}": size for name, size in live_sizes(lake).items()}


def fetch_new(
    data_path: str, sizes: dict[str, int], place: Callable[[str], Path | None], *, seen: Callable[[Path], None]
) -> Iterator[tuple[str, Path]]:
    """Fetch files of tables, one after the other; yields each name with the place that it was fetched to.

    Args:
        data_path: URI of the tables.
        sizes: their sizes in bytes, by name below the lake's root.
        place: where a name is to be fetched to, None if it is there already. Files of tables are written once and never changed.
        seen: told of every file.

    Raises:
        LakeError: the store has a file not, or cut off.
        OSError: the store cannot be reached.
    """
    for name, size in sizes.items():
        seen(Path(name))
        if (to := place(name)) is None:
            continue
        inner = name.removeprefix(_FOLDER)
        try:
            fetch(data_path, inner, to)
        except FileNotFoundError:
            raise LakeError(f"{data_path}{inner}, which the catalog names, is not there; bring it back and type the same again") from None
        if to.stat().st_size != size:
            num_bytes = to.stat().st_size
            to.unlink()
            raise LakeError(f"{data_path}{inner} has {num_bytes} bytes, the catalog says {size}; bring it back and type the same again")
        yield name, to

"""Places of a lake's Parquet files: a folder, or a prefix of an S3 store with a mark beside them that names their lake."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from warehouse.object_store import is_uri, open_store, reaching, refuse_secrets

__all__ = ["MARK", "data_below", "fetch", "folder_data", "mark_of", "read_mark", "table_files"]

MARK = "lake.json"
_PLAIN = re.compile(r"s3://[a-z0-9][a-z0-9.-]*[a-z0-9](/[A-Za-z0-9_=.-]+)*/?")


def data_below(uri: str) -> str:
    """The data path of tables below a URI such as `s3://bucket/lakes/one`.

    Raises:
        ValueError: it is no such URI, or holds a password.
    """
    refuse_secrets(uri)
    if not _PLAIN.fullmatch(uri) or ".." in uri.split("/"):
        raise ValueError(
            f"the place of the tables is {uri!r}; give an S3 bucket and a prefix of letters, digits, . _ - and /, as s3://bucket/lake"
        )
    return f"{uri.rstrip('/')}/tables/"


def folder_data(root: Path) -> str:
    """The data path of a lake whose tables lie in its own folder."""
    return f"{root / 'tables'}/"


def table_files(data_path: str) -> dict[str, int]:
    """Sizes in bytes of the Parquet files below a data path, by their names below it.

    Raises:
        OSError: the store cannot be reached.
    """
    if not is_uri(data_path):
        return {str(path.relative_to(data_path)): path.stat().st_size for path in Path(data_path).rglob("*.parquet")}
    store, prefix = open_store(data_path)
    with reaching(data_path):
        store.invalidate_cache()
        found = store.find(prefix.rstrip("/"), detail=True)
    return {path.removeprefix(f"{prefix.rstrip('/')}/"): int(facts["size"]) for path, facts in found.items() if path.endswith(".parquet")}


def fetch(data_path: str, name: str, to: Path) -> None:
    """Fetch the file `name` below a data path in a store; killed or cut off, it leaves no file under the name `to`.

    Raises:
        FileNotFoundError: it is not there.
        OSError: the store cannot be reached.
    """
    store, prefix = open_store(data_path)
    to.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    partial = to.with_name(f".{to.name[:64]}.copy.tmp")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with reaching(data_path):
        store.get_file(f"{prefix.rstrip('/')}/{name}", str(partial))
    os.replace(partial, to)


def read_mark(data_path: str) -> dict[str, str] | None:
    """The mark beside the tables: folder and owner of the lake that they belong to; None where there is none."""
    store, path = open_store(mark_of(data_path))
    with reaching(data_path):
        store.invalidate_cache()
        try:
            return {str(key): str(value) for key, value in json.loads(store.cat_file(path)).items()}
        except FileNotFoundError:
            return None


def mark_of(data_path: str) -> str:
    """URI of the mark beside tables."""
    return f"{data_path.removesuffix('tables/')}{MARK}"

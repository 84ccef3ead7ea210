"""DuckDB with the extensions of PyPI's wheels, loaded by path: opening a lake never touches the network."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import duckdb

from warehouse.catalog import LakeError
from warehouse.statements import quote

__all__ = ["EXTENSIONS", "bare_connection", "extension_path"]

EXTENSIONS = ("ducklake", "sqlite_scanner", "postgres_scanner")
"""sqlite_scanner for a lake's own catalog, postgres_scanner for one in a Postgres database; httpfs, for S3, is for those who use it"""


def bare_connection(*extensions: str) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory with these extensions, which fetches no others."""
    # DuckDB would hash the 70 MB of the two extensions to check who signed them, 0.3 CPU seconds each time a lake is opened. They are
    # loaded by path from the installation, whose hashes pip has checked and whose Python files nobody signs either.
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "allow_unsigned_extensions": "true"}
    )
    for name in extensions:
        connection.execute(f"LOAD {quote(str(extension_path(name)))}")
    return connection


def extension_path(name: str) -> Path:
    """Where the wheel `duckdb-extension-<name>` put the extension for this DuckDB.

    Raises:
        LakeError: it is not installed.
    """
    wheel = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
    try:
        folder = importlib.resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
    except ModuleNotFoundError:
        raise LakeError(f"the DuckDB extension {name} is not installed; pip install {wheel}") from None
    path = Path(str(folder / f"{name}.duckdb_extension"))
    if not path.is_file():
        raise LakeError(f"the DuckDB extension {name} for DuckDB {duckdb.__version__} is not at {path}; install {wheel}")
    return path

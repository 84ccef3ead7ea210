"""The lake: DuckLake tables over Parquet, in its folder or an S3 store, opened and committed to by this module alone.

DuckLake (https://ducklake.select) gives ACID transactions, several writers, snapshots and time travel; nothing of it is written by hand
here. Its DuckDB extensions come from PyPI wheels and are loaded by path, and DuckDB may fetch no others, so opening a lake never touches
the network.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from warehouse.catalog import Catalog, LakeError, catalog_of, no_lake
from warehouse.data_path import stored_data_path
from warehouse.empty_tables import count_empty_tables
from warehouse.extensions import EXTENSIONS, bare_connection, extension_path
from warehouse.local_path import local_path
from warehouse.migrations import OLDEST_VERSION, migration
from warehouse.object_store import is_uri
from warehouse.postgres import PostgresTurns, unreachable
from warehouse.private_files import make_private_folder
from warehouse.schema import DESCRIBED_TABLES, SCHEMA_VERSION, TABLES, table_schema
from warehouse.snapshots import moment_of
from warehouse.statements import add_column, create_macro, create_table, create_view, quote
from warehouse.store_keys import Renewal, give_keys, keep_to, narrowed
from warehouse.table_store import folder_data
from warehouse.views import MACROS, VIEWS

if TYPE_CHECKING:
    from tenacity import Retrying

__all__ = ["EXTENSIONS", "Lake", "LakeError", "commit_retries", "extension_path", "open_lake"]


class Lake:
    """An attached lake. Made by `open_lake`; one process writes through one of these at a time."""

    def __init__(
        self,
        root: Path,
        connection: duckdb.DuckDBPyConnection,
        writing: contextlib.AbstractContextManager[object],
        catalog: Catalog,
        data_path: str,
        keys: Renewal,
    ) -> None:
        """`writing` keeps other writers out while it is entered; `keys` sees that those to the store of the tables are valid."""
        self.root = root
        self.catalog = catalog
        self.data_path = data_path
        """below which the files of the tables lie: a folder, or a URI"""
        self._database = connection
        self._writing = writing
        self._keys = keys

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        self._keys()
        return self._database

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> pa.Table:
        """Run one statement with bound parameters and return its rows as an Arrow table."""
        return self._connection.execute(sql, parameters or None).to_arrow_table()

    def ask(self, statement: str) -> pa.Table:
        """The rows of one statement that a person typed.

        Raises:
            LakeError: it is none, several, one that would do more than read, or one that names a file elsewhere.
        """
        found = self._connection.extract_statements(statement)
        if len(found) != 1:
            raise LakeError(f"got {len(found)} statements, expected one: type one question at a time")
        if found[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise LakeError(f"this is a {found[0].type.name} statement; only questions (SELECT, FROM, DESCRIBE, EXPLAIN) are answered")
        with narrowed(self._connection) if is_uri(self.data_path) else contextlib.nullcontext():
            return self._connection.execute(found[0]).to_arrow_table()

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[dict[str, Any]]:
        """The rows of `query` as dicts."""
        rows: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return rows

    def look_up(self, sql: str, text: str) -> list[dict[str, Any]]:
        """`rows` of a statement that has one parameter, $1, a text, which goes in as a literal.

        DuckDB loads pandas to bind a parameter, which takes as long as all else before a name is refused.
        """
        return self.rows(sql.replace("$1", quote(text)))

    def added_scores(self, table: str) -> tuple[str, ...]:
        """The columns of a table that installed filters have added, here or elsewhere, in alphabetical order."""
        return tuple(sorted({row["column_name"] for row in self.rows(f"DESCRIBE {table}")} - set(TABLES[table].names)))

    def add_scores(self, table: str, scores: Mapping[str, str]) -> None:
        """Give a table the columns of these scores, where they are missing; rows that are there already have null in them.

        `scores` says what each score is, by name.
        """
        if not scores.keys() - set(self.added_scores(table)):
            return
        for attempt in commit_retries():
            with attempt, self.transaction():
                for name in sorted(scores.keys() - set(self.added_scores(table))):  # another process may have been quicker
                    self._run(add_column(table, name, scores[name]))
                self._run(_view_statements())

    def add_missing_views(self) -> None:
        """Make the views that a lake of the same schema lacks, because an earlier EndoForge made it."""
        known = {row["view_name"] for row in self.rows("SELECT view_name FROM duckdb_views() WHERE database_name = 'lake'")}
        if VIEWS.keys() - known:
            for attempt in commit_retries():
                with attempt, self.transaction("views"):
                    self._run(_view_statements())

    def append(self, table: str, rows: pa.Table, *, scores: Sequence[str] = ()) -> None:
        """Append rows whose columns are those of `table`'s schema and these scores, inside a `transaction`."""
        schema = table_schema(table, scores=scores)
        self._connection.register("_new_rows", rows.select(schema.names).cast(schema))
        try:
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM _new_rows")
        finally:
            self._connection.unregister("_new_rows")

    def append_parquet(self, table: str, paths: Sequence[Path], constants: Mapping[str, str], *, scores: Sequence[str] = ()) -> None:
        """Append the rows of Parquet parts, in the order given, without holding them in memory; `constants` fill whole columns."""
        numbers = {name: f"${position}" for position, name in enumerate(constants, start=2)}
        names = table_schema(table, scores=scores).names
        columns = ", ".join(f'{numbers[name]} AS "{name}"' if name in numbers else f'"{name}"' for name in names)
        for start in range(0, len(paths), 1000):
            batch = [str(path) for path in paths[start : start + 1000]]
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT {columns} FROM read_parquet($1)", [batch, *constants.values()])

    def remove(self, table: str, rows: pa.Table) -> None:
        """Delete the rows of `table` that equal one of `rows` in all of its columns, inside a `transaction`; older snapshots keep them."""
        equal = " AND ".join(f"{table}.{name} IS NOT DISTINCT FROM o.{name}" for name in rows.column_names)
        self._connection.register("_old_rows", rows)
        try:
            self._connection.execute(f"DELETE FROM {table} WHERE EXISTS (SELECT 1 FROM _old_rows o WHERE {equal})")
        finally:
            self._connection.unregister("_old_rows")

    def known_ids(self, table: str, column: str, ids: pa.Table) -> set[str]:
        """Which of `ids` (one column named like `column`) the table has already."""
        self._connection.register("_wanted_ids", ids)
        try:
            return {str(row[column]) for row in self.rows(f"SELECT DISTINCT t.{column} FROM {table} t JOIN _wanted_ids USING ({column})")}
        finally:
            self._connection.unregister("_wanted_ids")

    def copy_to_parquet(self, sql: str, path: Path, parameters: Sequence[object] = ()) -> int:
        """Write a query's rows to one zstd Parquet file; returns how many there were."""
        statement = f"COPY ({sql}) TO {quote(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        result = self._connection.execute(statement, parameters or None).fetchone()
        return int(result[0]) if result else 0

    def copy_to_partitions(self, sql: str, folder: Path, column: str) -> tuple[Path, ...]:
        """Write a query's rows as zstd Parquet in one subfolder of `folder` for each value of `column`, which the files lack.

        The rows of a subfolder are in no particular order. Returns the subfolders, ordered by name.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._connection.execute(f"COPY ({sql}) TO {quote(str(folder))} (FORMAT parquet, COMPRESSION zstd, PARTITION_BY ({column}))")
        return tuple(sorted(path for path in folder.iterdir() if path.is_dir()))

    def _run(self, statements: Iterable[str]) -> None:
        """Run statements without rows, all at once: hundreds of comments one by one cost a new lake twice as much."""
        self._connection.execute("; ".join(statements))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile, outside a transaction: for what DuckLake commits by itself."""
        with self._writing:
            yield

    @contextlib.contextmanager
    def transaction(self, message: str = "") -> Iterator[None]:
        """All or nothing, one writer at a time; raises what the body or the commit raised after rolling back.

        `message` says in the snapshot who made it.
        """
        with self._writing:
            self._connection.execute("BEGIN")
            try:
                yield
                if message:
                    self._connection.execute("CALL ducklake_set_commit_message('lake', 'endoforge', $1)", [message])
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    self._database.execute("ROLLBACK")
                self._keys(was_rolled_back=True)
                raise

    def close(self) -> None:
        """Detach; the lake stays as the last commit left it."""
        self._database.close()
        if isinstance(self._writing, PostgresTurns):
            self._writing.close()

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def commit_retries() -> Retrying:
    """Bounded retries for a commit that lost a race for the catalog to another process."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential  # here: a refusal commits nothing

    return Retrying(
        retry=retry_if_exception_type((duckdb.TransactionException, duckdb.IOException, duckdb.OperationalError)),
        stop=stop_after_attempt(8),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        reraise=True,
    )


def open_lake(
    root: Path | str,
    *,
    create: bool = False,
    read_only: bool = False,
    catalog: Catalog | None = None,
    data_path: str | None = None,
    at: str | None = None,
) -> Lake:
    """Attach the lake in the folder `root`.

    A lake of an earlier release is brought up to date first, `read_only` or not: tables and columns are added, none is changed. A state of
    the past has the tables and views that it had then.

    Args:
        root: the lake's folder.
        create: make the folder, the catalog and the tables where they are missing.
        read_only: refuse every write.
        catalog: another than the one the folder names (see `warehouse.catalog.catalog_of`).
        data_path: where the tables of a new lake are to lie (see `warehouse.data_path.data_below`), if not in its folder.
        at: read it as it was then: a version, a tag, or a time (see `warehouse.snapshots.moment_of`).

    Raises:
        ValueError: `root` is a URI, or `at` names no state.
        LakeError: there is no lake there, its catalog cannot be reached, or an EndoForge with another schema wrote it.
    """
    root = local_path(root, what="the lake").absolute()
    catalog = catalog or catalog_of(root)
    is_there = catalog.kind == "postgres" or Path(catalog.where).is_file()
    if not create and not is_there:
        raise no_lake(root)
    if create:
        make_private_folder(root)
        (root / "tables").mkdir(parents=True, exist_ok=True)
    connection = _connection(root, catalog, read_only=read_only)
    stored = stored_data_path(connection, catalog, read_only=read_only or at is not None) if is_there else None
    # a folder may have been moved with its tables, a prefix in a store stays
    data_path = stored if stored is not None and is_uri(stored) else data_path or folder_data(root)
    keys = give_keys(connection, data_path) if is_uri(data_path) else _no_keys
    options = [f"DATA_PATH {quote(data_path)}", "OVERRIDE_DATA_PATH true", "DATA_INLINING_ROW_LIMIT 0"]
    if read_only or at is not None:
        options.append("READ_ONLY")
    if catalog.kind == "postgres" and not create:
        options.append("CREATE_IF_NOT_EXISTS false")  # an empty database is one that was lost, or another
    if at is not None:
        options.append(moment_of(root, at).option)
    if catalog.kind == "sqlite":
        # SQLite's rollback journal, not its WAL: that would need a writable folder even to read, and cannot lie on a network drive
        options.append("META_BUSY_TIMEOUT 30000")
    writing = contextlib.nullcontext() if read_only else _turns(catalog)
    # attaching creates the catalog, and its file is there before its tables are
    with writing if create or not is_there else contextlib.nullcontext():
        try:
            connection.execute(f"ATTACH {quote('ducklake:' + catalog.target)} AS lake ({', '.join(options)})")
        except duckdb.Error as error:
            if at is not None:
                raise LakeError(
                    f"the lake in {root} has no state {at!r} any more ({error}); `endoforge snapshots` lists what it has"
                ) from error
            if catalog.kind == "postgres":
                raise unreachable(catalog, error) from None
            raise
    connection.execute("USE lake")
    if is_uri(data_path):
        keep_to(connection, data_path)
    lake = Lake(root, connection, writing, catalog, data_path, keys)
    if at is not None and _version(lake) < SCHEMA_VERSION:
        if not OLDEST_VERSION <= _version(lake):
            lake.close()
            raise LakeError(f"the lake in {root} had no tables yet at {at!r}; `endoforge snapshots` lists later states")
        return lake  # a state of the past is read by the tables and views that it had
    if read_only and OLDEST_VERSION <= _version(lake) < SCHEMA_VERSION:
        lake.close()
        _bring_up_to_date(root, catalog)
        return open_lake(root, read_only=True, catalog=catalog)
    for attempt in commit_retries():
        with attempt:
            is_new = _make_tables(lake, read_only=read_only or at is not None)
    if is_new:
        with lake.alone():
            count_empty_tables(catalog)
    return lake


def _connection(root: Path, catalog: Catalog, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """DuckDB as every lake wants it."""
    connection = bare_connection("ducklake", catalog.extension)
    # For what goes beyond DuckDB's own limit, 80% of memory; else it would make a folder wherever one happens to be. A lake that is only
    # read may be one that cannot be written to.
    spills = Path(tempfile.gettempdir()) if read_only else root / "staging"
    spills.mkdir(parents=True, exist_ok=True)
    connection.execute("SET temp_directory = " + quote(str(spills / f"duckdb-{uuid.uuid4().hex}")))
    # DuckDB would keep what it has read of Parquet files, up to that limit: 0.3 MB a video ingested, 40 GB for an archive of 130,000. The
    # system keeps it anyway, and gives it up to workers.
    connection.execute("SET enable_external_file_cache = false")
    # NumPy, PyTorch and FAISS obey it by themselves
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(threads) > 0:
        connection.execute(f"SET threads = {int(threads)}")
    # DuckDB 1.5.5 fails, or answers wrongly, where it shares subplans between uses that need different columns (duckdb/duckdb#25819)
    connection.execute("SET disabled_optimizers = 'common_subplan'")
    if catalog.kind == "postgres":
        connection.execute("SET ducklake_max_retry_count = 100")  # writers of others, who take no turns (duckdb/ducklake#1283)
    return connection


def _no_keys(*, was_rolled_back: bool = False) -> None:
    """What the tables of a folder need."""


def _turns(catalog: Catalog) -> contextlib.AbstractContextManager[object]:
    """What keeps other writers out while it is entered.

    Two transactions that read a SQLite catalog and then both want to write wait for each other for ever (duckdb/ducklake#1309), so writers
    take turns by a lock file; at a Postgres catalog by its server.
    """
    return PostgresTurns(catalog) if catalog.kind == "postgres" else FileLock(Path(catalog.where).with_suffix(".lock"))


def _bring_up_to_date(root: Path, catalog: Catalog) -> None:
    """Migrate a lake that was to be opened for reading alone."""
    try:
        open_lake(root, catalog=catalog).close()
    except (duckdb.Error, OSError) as error:
        raise LakeError(
            f"the lake in {root} is of an earlier release and cannot be brought up to date here: {error}; "
            "run any `endoforge` command on it once where it can be written to"
        ) from error


def _make_tables(lake: Lake, *, read_only: bool) -> bool:
    """Create the tables of a new lake, bring one of an earlier release up to date, or refuse one of another schema.

    Returns whether it had something to do.
    """
    version = _version(lake)
    if version == SCHEMA_VERSION:
        return False
    found = f"the lake in {lake.root} has schema version {version}"
    if version > SCHEMA_VERSION:
        raise LakeError(f"{found}, this EndoForge knows up to {SCHEMA_VERSION}; upgrade EndoForge to open it")
    if OLDEST_VERSION <= version and not read_only:
        with lake.transaction():
            for earlier in range(_version(lake), SCHEMA_VERSION):  # none, if another process was quicker
                lake._run(migration(earlier))
                lake._run(_view_statements())
                lake.query("UPDATE lake_schema SET version = $1", [earlier + 1])
        return True
    if version or read_only:
        raise LakeError(f"{found}, expected {SCHEMA_VERSION}; lakes made before 0.1.0 are not converted, so ingest the videos again")
    with lake.transaction():
        if _version(lake) == SCHEMA_VERSION:
            return False  # another process was quicker
        lake._run(statement for name, table in DESCRIBED_TABLES.items() for statement in create_table(name, table))
        lake._run(_view_statements())
        lake.query("INSERT INTO lake_schema VALUES ($1)", [SCHEMA_VERSION])
    return True


def _view_statements() -> Iterator[str]:
    """Views and macros as they are now."""
    for name, view in VIEWS.items():
        yield from create_view(name, view)
    for signature, macro in MACROS.items():
        yield create_macro(signature, macro)


def _version(lake: Lake) -> int:
    try:  # to look the table up in duckdb_tables() would load all others, and bind all views
        return int(lake.rows("SELECT max(version) AS version FROM lake_schema")[0]["version"])
    except duckdb.CatalogException:
        return 0

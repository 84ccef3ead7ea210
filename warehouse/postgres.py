"""What a Postgres catalog needs beside DuckLake: turns of writers by an advisory lock, and the folder that belongs to a database."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import duckdb

from warehouse.catalog import CATALOG_FILE, Catalog, LakeError, catalog_of, parse_catalog
from warehouse.extensions import bare_connection
from warehouse.object_store import is_uri
from warehouse.statements import quote
from warehouse.table_store import read_mark

__all__ = [
    "PostgresTurns",
    "database_identity",
    "erase_values",
    "execute",
    "folder_of",
    "has_tables",
    "lake_folder",
    "mounted_folder_of",
    "refuse_unless_owner",
    "rewrite_tables",
    "tables_with",
    "unreachable",
]

_TURN = 0x656E646F666F7267
"""key of the advisory lock; these are one for each database, and a database is the catalog of one lake"""
_PATIENCE_S = 1
"""after which a waiting writer looks whether it was interrupted"""
_HOLDERS = """
    SELECT string_agg(who, ', ') AS who FROM (
        SELECT 'process ' || pid || ' of ' || coalesce(nullif(application_name, ''), 'a client') AS who FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND xact_start < '{time}'::timestamptz
        UNION ALL SELECT 'standby ' || application_name FROM pg_stat_replication WHERE age(backend_xmin) > age('{xid}'::xid)
        UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts WHERE database = current_database()
        UNION ALL SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE age(xmin) > age('{xid}'::xid)) AS holders"""
_TEXT_COLUMNS = """
    SELECT c.oid::regclass::text AS one, string_agg(quote_ident(a.attname), ', ') AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
    WHERE c.relkind = 'r' AND n.nspname = current_schema() GROUP BY c.oid ORDER BY 1"""
_OTHER_OWNER = """
    SELECT pg_get_userbyid(datdba)::text AS owner FROM pg_database
    WHERE datname = current_database() AND NOT pg_has_role(datdba, 'USAGE')"""
_ANY_TABLE = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace) AS there"
_IDENTITY = """
    SELECT system_identifier::text || ' ' || oid AS id FROM pg_control_system(), pg_database WHERE datname = current_database()"""
"""a database that is made anew under the name of another has another number"""


class PostgresTurns(contextlib.AbstractContextManager[None]):
    """Lets one writer at a time at a catalog, wherever it runs; may be entered again by who is in it.

    DuckLake commits concurrently by itself, and gives up where its retries are spent. What EndoForge looks up before it writes must also
    still hold when it commits. The server frees the turn of a process that is killed at once, and of a machine that is lost after a minute.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._depth = 0
        self._inner = threading.RLock()

    def __enter__(self) -> None:
        self._inner.acquire()
        try:
            if self._depth == 0:
                self._wait()
            self._depth += 1
        except BaseException:
            self._inner.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        try:
            if self._depth == 0 and self._connection is not None:
                with contextlib.suppress(duckdb.Error):  # a lost connection has lost the turn too
                    self._connection.execute("COMMIT")
        finally:
            self._inner.release()

    def close(self) -> None:
        """End the connection that waits for turns."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wait(self) -> None:
        while True:
            if self._connection is None:
                self._connection = _attached(self._catalog)
            began = time.monotonic()
            try:
                self._connection.execute("BEGIN")
                self._connection.execute(f"CALL postgres_execute('catalog', {quote(_SESSION)})")
                self._connection.execute(
                    f"FROM postgres_query('catalog', 'SELECT pg_advisory_xact_lock({_TURN})::text AS turn')"
                ).fetchall()
                return
            except duckdb.Error as error:
                with contextlib.suppress(duckdb.Error):
                    self._connection.execute("ROLLBACK")
                if time.monotonic() - began < _PATIENCE_S:  # else the lock was not had in time, in the server's language
                    self.close()
                    raise unreachable(self._catalog, error) from None
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    self._connection.execute("ROLLBACK")
                raise


_SESSION = "; ".join(
    f"SET LOCAL {name} = {value}"
    for name, value in {
        "lock_timeout": f"'{_PATIENCE_S}s'",
        "idle_in_transaction_session_timeout": "0",  # a writer may hold its turn for long
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }.items()
)


def folder_of(catalog: Catalog) -> Path | None:
    """The folder of the lake whose catalog is in this database; None if there is no lake's.

    Raises:
        LakeError: the database cannot be reached, or holds a DuckLake that EndoForge did not make.
    """
    with contextlib.closing(_attached(catalog)) as connection:
        there = "SELECT to_regclass('ducklake_metadata') IS NOT NULL AS there"
        if not _value(connection, there):
            return None
        path = str(_value(connection, "SELECT value FROM ducklake_metadata WHERE key = 'data_path'"))
    if is_uri(path):
        if (mark := read_mark(path)) is None:
            raise LakeError(f"{catalog.text} has its tables in {path}, and nothing there names the lake's folder; give that to --lake")
        return Path(mark["folder"])
    folder = Path(path)
    if folder.name != "tables" or not folder.is_absolute():
        raise LakeError(
            f"the DuckLake in {catalog.text} has its files in {path}, which is no lake of EndoForge; give a database of its own"
        )
    return folder.parent


def has_tables(catalog: Catalog) -> bool:
    """Whether a table, of whatever kind, is in this database.

    Raises:
        LakeError: the database cannot be reached.
    """
    with contextlib.closing(_attached(catalog)) as connection:
        return bool(_value(connection, _ANY_TABLE))


def mounted_folder_of(catalog: Catalog) -> Path:
    """As `folder_of`, of a lake that is there and can be seen from this machine.

    Raises:
        LakeError: there is no lake, its folder is not on this machine, or that folder names another database.
    """
    folder = folder_of(catalog)
    if folder is None:
        raise LakeError(f"there is no lake in {catalog.text}; make one: `endoforge init-lake --lake FOLDER --catalog '{catalog.text}'`")
    if not (folder / CATALOG_FILE).is_file():
        raise LakeError(
            f"the files of {catalog.text} are in {folder}, where there is no {CATALOG_FILE}; "
            "mount that folder on this machine, or give the folder to --lake if it has moved"
        )
    other = catalog_of(folder)
    if other != catalog and database_identity(other) != database_identity(catalog):
        raise LakeError(f"the files of {catalog.text} are in {folder}, whose {CATALOG_FILE} names {other.text}; correct one of them")
    return folder


def lake_folder(text: str) -> Path:
    """The folder of a lake that a person names by its folder or by its catalog, as `ducklake:postgres:...`.

    Raises:
        LakeError: see `parse_catalog` and `mounted_folder_of`.
    """
    return mounted_folder_of(parse_catalog(text)) if text.startswith("ducklake:") else Path(text)


def erase_values(catalog: Catalog, tables: Sequence[str], needles: Sequence[str]) -> None:
    """Forget the smallest and largest values that hold one of these texts."""
    with contextlib.closing(_attached(catalog)) as connection:
        for table in tables:
            holds = " OR ".join(_holds(column, needles) for column in ("min_value", "max_value"))
            update = f"UPDATE {table} SET min_value = NULL, max_value = NULL WHERE {holds}"
            connection.execute(f"CALL postgres_execute('catalog', {quote(update)})")


def rewrite_tables(catalog: Catalog, *, patience_s: float = 60.0) -> None:
    """Write every table of the catalog anew, and what the server's planner keeps of their values, so that no deleted row is left in them.

    The server keeps a deleted row for as long as a transaction is open that began before, also that of a writer's turn. The user must own
    the database.

    Args:
        catalog: the catalog; this process has no transaction open in it.
        patience_s: how long to wait for the transactions of others.

    Raises:
        LakeError: a transaction of another did not end in time.
    """
    with contextlib.closing(_attached(catalog)) as connection:
        _wait_for_readers(connection, catalog, patience_s)
        for table in _columns(connection):
            connection.execute(f"CALL postgres_execute('catalog', {quote(f'VACUUM (FULL, ANALYZE) {table}')}, use_transaction => false)")
        _wait_for_readers(connection, catalog, patience_s)  # the planner's old samples are deleted rows now
        connection.execute("CALL postgres_execute('catalog', 'VACUUM (FULL) pg_catalog.pg_statistic', use_transaction => false)")


def _wait_for_readers(connection: duckdb.DuckDBPyConnection, catalog: Catalog, patience_s: float) -> None:
    """Wait until no transaction is open that began before now: it keeps deleted rows, and may keep tables from being written anew."""
    xid = _value(connection, "SELECT (txid_current() % 4294967296)::text AS id")
    time_of_it = _value(connection, "SELECT clock_timestamp()::text AS time")
    deadline = time.monotonic() + patience_s
    while holders := _value(connection, _HOLDERS.format(xid=xid, time=time_of_it)):
        if time.monotonic() > deadline:
            raise LakeError(
                f"other transactions of {catalog.text} are open for longer than {patience_s:g} s and keep what was deleted: {holders}; "
                "end them, and type the same with --resume"
            )
        time.sleep(0.5)


def tables_with(catalog: Catalog, needles: Sequence[str]) -> list[str]:
    """The tables of a catalog in which a row holds one of these texts."""
    with contextlib.closing(_attached(catalog)) as connection:
        return [
            table
            for table, columns in _columns(connection).items()
            if columns
            and _value(connection, f"SELECT count(*) AS n FROM {table} WHERE {' OR '.join(_holds(name, needles) for name in columns)}")
        ]


def refuse_unless_owner(catalog: Catalog) -> None:
    """See that this user may write the tables of the catalog's database anew.

    Raises:
        LakeError: the database is another user's.
    """
    with contextlib.closing(_attached(catalog)) as connection:
        owner = _value(connection, _OTHER_OWNER)
    if owner is not None:
        raise LakeError(f"the database of {catalog.text} belongs to {owner}, who alone can erase deleted rows; type this as that user")


def execute(catalog: Catalog, statement: str) -> None:
    """Run a statement without rows in the database by itself."""
    with contextlib.closing(_attached(catalog)) as connection:
        connection.execute(f"CALL postgres_execute('catalog', {quote(statement)})")


def unreachable(catalog: Catalog, error: Exception) -> LakeError:
    """The error that names the remedy; what libpq says never holds a password."""
    said = re.sub(r'^IO Error: Unable to connect to Postgres at ".*?": ', "", " ".join(str(error).split()))
    return LakeError(
        f"the catalog {catalog.text} cannot be used: {said}; see that the server runs, "
        "and that PGPASSFILE, ~/.pgpass or PGPASSWORD has the password"
    )


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """The tables of the catalog, as SQL names them, each with its columns of text."""
    rows = connection.execute(f"FROM postgres_query('catalog', {quote(_TEXT_COLUMNS)})").fetchall()
    return {str(table): str(columns).split(", ") if columns else [] for table, columns in rows}


def _holds(column: str, needles: Sequence[str]) -> str:
    return f"EXISTS (SELECT 1 FROM unnest(ARRAY[{', '.join(map(quote, needles))}]) AS n (one) WHERE strpos({column}, n.one) > 0)"


def database_identity(catalog: Catalog) -> str:
    """Names the database wherever it is reached from; a restored dump has another."""
    with contextlib.closing(_attached(catalog)) as connection:
        return str(_value(connection, _IDENTITY))


def _value(connection: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = connection.execute(f"FROM postgres_query('catalog', {quote(sql)})").fetchone()
    return row[0] if row else None


def _attached(catalog: Catalog) -> duckdb.DuckDBPyConnection:
    """The database by itself, as `catalog`."""
    connection = bare_connection(catalog.extension)
    try:
        connection.execute(f"ATTACH {quote(catalog.where)} AS catalog (TYPE postgres)")
    except duckdb.Error as error:
        connection.close()
        raise unreachable(catalog, error) from None
    return connection

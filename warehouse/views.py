"""The questions everyone asks, as views in the lake: any DuckDB with the DuckLake extension sees them too."""

from __future__ import annotations

from warehouse.tables.clip_views import CLIP_VIEWS
from warehouse.tables.current_views import CURRENT_VIEWS
from warehouse.tables.history_views import HISTORY_MACROS, HISTORY_VIEWS
from warehouse.tables.notation import View
from warehouse.tables.people_views import PEOPLE_VIEWS
from warehouse.tables.privacy_views import PRIVACY_VIEWS
from warehouse.tables.summary_views import SUMMARY_VIEWS

__all__ = ["MACROS", "VIEWS"]

VIEWS: dict[str, View] = {
    **CURRENT_VIEWS,
    **CLIP_VIEWS,
    **PRIVACY_VIEWS,
    **SUMMARY_VIEWS,
    **PEOPLE_VIEWS,
    **HISTORY_VIEWS,
    # The lake may be attached under any name. If several lakes are, the list has what any of them has.
    "data_dictionary": View(
        "Every table, its columns and every view, with the type and what it is or holds: this list",
        """
        WITH lakes AS (SELECT database_oid FROM duckdb_tables() WHERE table_name = 'lake_schema'),
        entries AS (
            SELECT database_oid, table_name, 0 AS position, NULL AS column_name, 'table' AS type, comment FROM duckdb_tables()
            UNION ALL
            SELECT c.database_oid, c.table_name, c.column_index, c.column_name, c.data_type, c.comment
            FROM duckdb_columns() c SEMI JOIN duckdb_tables() t ON t.database_oid = c.database_oid AND t.table_oid = c.table_oid
            UNION ALL
            SELECT database_oid, view_name, 0, NULL, 'view', comment FROM duckdb_views())
        SELECT table_name, column_name, type, comment AS description
        FROM (SELECT DISTINCT * EXCLUDE (database_oid) FROM entries SEMI JOIN lakes USING (database_oid))
        ORDER BY table_name, position""",
    ),
}

MACROS: dict[str, View] = {
    **HISTORY_MACROS,
    "ancestry(id)": View(
        "Everything that an artifact was made from, nearest first",
        """
        WITH RECURSIVE up(artifact_id, depth) AS (
            SELECT CAST(id AS VARCHAR), 0
            UNION
            SELECT i.artifact_id, up.depth + 1
            FROM up JOIN edges o ON o.artifact_id = up.artifact_id AND o.direction = 'output'
            JOIN edges i ON i.run_id = o.run_id AND i.direction = 'input')
        SELECT a.kind, a.artifact_id, a.uri, min(up.depth) AS depth
        FROM up JOIN artifacts a USING (artifact_id) GROUP BY ALL ORDER BY depth, a.uri""",
    ),
}

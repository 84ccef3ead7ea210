"""Run records: the one way a stage's results enter the lake, whole or not at all.

`stage_key` names the work (stage, version, settings, inputs). A committed key is never computed again, so a rerun, a retry and a restart
after kill -9 are the same thing.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

import pyarrow as pa

from warehouse.forgotten import forgotten_in
from warehouse.lake import Lake, commit_retries
from warehouse.peak_memory import PeakMemory
from warehouse.provenance import current_provenance, current_user
from warehouse.records import Artifact
from warehouse.schema import TABLES, table_schema
from warehouse.store import canonical_json, content_id

__all__ = ["RunContext", "RunPlan", "RunRecorder", "by_person", "completed_run_id", "plan_run", "record_run", "run_outputs"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Where a run happened: recorded beside it, no part of its identity."""

    runner: str
    prefect_flow_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A piece of work before it is done, with the identity that it will be remembered by."""

    stage: str
    version: int
    config: str
    """canonical JSON"""
    inputs: tuple[Artifact, ...]
    seed: int | None
    stage_key: str

    @property
    def run_id(self) -> str:
        """The same for the same work, so that an interrupted run finds its own folder again."""
        return f"{self.stage}-{self.stage_key[:16]}"


def plan_run(*, stage: str, version: int, config: object, inputs: Sequence[Artifact], seed: int | None = None) -> RunPlan:
    """Name a piece of work by what determines its result.

    Args:
        stage: the stage's name.
        version: raised whenever the stage's code gives other results for the same settings.
        config: the resolved settings that influence the result: a dataclass or plain JSON values.
        inputs: what it reads; their order does not matter.
        seed: recorded beside it; it must be a part of `config` to be a part of the identity.
    """
    key = content_id({"stage": stage, "version": version, "config": config, "inputs": sorted(item.artifact_id for item in inputs)})
    return RunPlan(stage=stage, version=version, config=canonical_json(config), inputs=tuple(inputs), seed=seed, stage_key=key)


def by_person(plan: RunPlan) -> RunPlan:
    """The same work, whose recorded settings also name the account that asks for it; whoever does, its identity is the same."""
    return replace(plan, config=canonical_json({**json.loads(plan.config), "user": current_user()}))


def completed_run_id(lake: Lake, plan: RunPlan) -> str | None:
    """The id of the committed run that did this work, or None."""
    found = lake.rows("SELECT run_id FROM runs WHERE stage_key = $1 AND status = 'complete' LIMIT 1", [plan.stage_key])
    return str(found[0]["run_id"]) if found else None


def run_outputs(lake: Lake, run_id: str) -> tuple[Artifact, ...]:
    """The artifacts that a run made."""
    rows = lake.rows(
        """SELECT DISTINCT a.* FROM edges e JOIN artifacts a USING (artifact_id)
           WHERE e.run_id = $1 AND e.direction = 'output' ORDER BY a.uri""",
        [run_id],
    )
    return tuple(Artifact(**row) for row in rows)


@dataclass(slots=True)
class RunRecorder:
    """Collects what a run made; `record_run` commits all of it at once."""

    plan: RunPlan
    """may be set anew, before any row, where only the work tells what its inputs were"""
    is_void: bool = False
    """set where the work came to nothing that is worth a record"""
    is_superfluous: bool = False
    """set on leaving where the same work was committed before: nothing of this run is in the lake"""
    ray_job_id: str | None = None
    """Ray's id of the job that did the work; set by whoever used Ray"""
    metrics: dict[str, float] = field(default_factory=dict)
    outputs: list[Artifact] = field(default_factory=list)
    _tables: list[tuple[str, pa.Table, Sequence[str]]] = field(default_factory=list)
    _parts: list[tuple[str, list[Path], dict[str, str], Sequence[str]]] = field(default_factory=list)
    _named: list[tuple[str, str, str, Path]] = field(default_factory=list)
    _superseded: list[tuple[str, pa.Table]] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """That of the plan."""
        return self.plan.run_id

    def output(self, *artifacts: Artifact) -> None:
        """Name things this run made."""
        self.outputs.extend(artifacts)

    def rows(self, table: str, rows: Sequence[object], *, scores: Sequence[str] = ()) -> None:
        """Add rows: dicts or records that name every column of the table; `run_id` is filled in and may be left out.

        `scores` are columns that installed filters have added to the table.

        Raises:
            ValueError: a row has a column that the table lacks, or lacks one that the table has. None is a value.
        """
        schema = table_schema(table, scores=scores)
        cells = [_cells(table, schema.names, row) | ({"run_id": self.run_id} if "run_id" in schema.names else {}) for row in rows]
        columns = {name: [row[name] for row in cells] for name in schema.names}
        self._tables.append((table, pa.table(columns, schema=schema), scores))

    def parts(self, table: str, paths: Sequence[Path], *, scores: Sequence[str] = (), **constants: str) -> None:
        """Add the rows of Parquet files that workers wrote; `constants` are columns that the files lack.

        `scores` are columns that installed filters have added to the table.

        Raises:
            ValueError: a constant is no column of the table.
        """
        if unknown := constants.keys() - set(TABLES[table].names):
            raise ValueError(f"constants of table {table} are {', '.join(sorted(unknown))}; give columns that the table has")
        self._parts.append((table, list(paths), constants, scores))

    def named_rows(self, table: str, column: str, identifier: str, path: Path) -> None:
        """Add the rows of a Parquet file that are named by the hash of their content, unless the table has that id in `column`.

        Other settings, or other inputs, may give the same rows.
        """
        self._named.append((table, column, identifier, path))

    def supersede(self, table: str, rows: Sequence[dict[str, object]]) -> None:
        """Take back earlier rows, named by the values of some columns: what this run says replaces them."""
        if rows:
            schema = pa.schema([TABLES[table].field(name) for name in rows[0]])
            self._superseded.append((table, pa.Table.from_pylist(list(rows), schema)))

    def commit_to(self, lake: Lake) -> None:
        """Take back what is superseded and append everything collected; called inside the run's transaction."""
        for table, rows in self._superseded:
            lake.remove(table, rows)
        for table, rows, scores in self._tables:
            if rows.num_rows:
                lake.append(table, rows, scores=scores)
        for table, paths, constants, scores in self._parts:
            lake.append_parquet(table, paths, constants, scores=scores)
        for table, column, identifier, path in self._named:
            if not lake.known_ids(table, column, pa.table({column: [identifier]})):
                lake.append_parquet(table, [path], {})


def _cells(table: str, names: Sequence[str], row: object) -> dict[str, object]:
    """The values of a row by column; dicts as JSON.

    Raises:
        ValueError: the columns are not the table's, with or without `run_id`.
    """
    if isinstance(row, dict):
        values = row
    elif is_dataclass(row):
        values = {column.name: getattr(row, column.name) for column in fields(row)}
    else:
        raise ValueError(f"a row of table {table} is {type(row).__name__}; give a dict or a record")
    columns = set(names)
    missing, unknown = sorted(columns - values.keys() - {"run_id"}), sorted(values.keys() - columns)
    if missing or unknown:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"a row of table {table} {' and '.join(faults)}; name every column, with None for a value that is not known")
    return {name: canonical_json(value) if isinstance(value, dict) else value for name, value in values.items()}


@contextlib.contextmanager
def record_run(lake: Lake, plan: RunPlan, context: RunContext) -> Iterator[RunRecorder]:
    """Do a piece of work inside this; on leaving, its rows, artifacts, edges and run record are one transaction.

    Where the same work has been committed meanwhile, this one's rows are left out, and a warning says so. An exception is recorded as a
    failed run, in a transaction of its own, and raised again.
    """
    recorder = RunRecorder(plan=plan)
    started = datetime.datetime.now(datetime.UTC)
    with PeakMemory() as peak:
        try:
            yield recorder
            if recorder.is_void:
                return
            for attempt in commit_retries():
                with attempt, lake.transaction(recorder.run_id):
                    _refuse_forgotten(lake, recorder)
                    recorder.is_superfluous = completed_run_id(lake, recorder.plan) is not None
                    if not recorder.is_superfluous:
                        recorder.commit_to(lake)
                        _append_artifacts(lake, recorder)
                        lake.append("runs", _run_row(context, recorder, started, peak, "complete", None))
            if recorder.is_superfluous:
                _log.warning("%s was committed before, by another process or an earlier run; this one's rows are left out", recorder.run_id)
        except BaseException as error:
            with contextlib.suppress(Exception), lake.transaction(f"{recorder.run_id} (failed)"):  # the work's own error is the one to show
                lake.append("runs", _run_row(context, recorder, started, peak, "failed", f"{type(error).__name__}: {error}"))
            raise


def _refuse_forgotten(lake: Lake, recorder: RunRecorder) -> None:
    """Work on what was forgotten meanwhile is not committed.

    Raises:
        ValueError: an input or an output was forgotten.
    """
    is_forgotten = forgotten_in(lake.root)
    if any(is_forgotten(item.artifact_id) for item in (*recorder.plan.inputs, *recorder.outputs)):
        raise ValueError(f"{recorder.run_id} worked on what was forgotten meanwhile, and is not recorded; type the same command again")


def _append_artifacts(lake: Lake, recorder: RunRecorder) -> None:
    plan = recorder.plan
    artifacts = {item.artifact_id: item for item in (*plan.inputs, *recorder.outputs)}
    edges = [{"artifact_id": item.artifact_id, "direction": "input"} for item in plan.inputs]
    edges += [{"artifact_id": item.artifact_id, "direction": "output"} for item in recorder.outputs]
    rows = pa.table({"artifact_id": pa.array(list(artifacts), pa.string())})
    known = lake.known_ids("artifacts", "artifact_id", rows)
    lineage = RunRecorder(plan=plan)
    lineage.rows("artifacts", [item for key, item in artifacts.items() if key not in known])
    lineage.rows("edges", edges)
    lineage.commit_to(lake)


def _run_row(
    context: RunContext, recorder: RunRecorder, started: datetime.datetime, peak: PeakMemory, status: str, error: str | None
) -> pa.Table:
    plan, provenance = recorder.plan, current_provenance()
    row = {
        "run_id": plan.run_id,
        "attempt_id": str(uuid.uuid4()),
        "stage": plan.stage,
        "stage_key": plan.stage_key,
        "status": status,
        "error": error,
        "started_at": started,
        "ended_at": datetime.datetime.now(datetime.UTC),
        "stage_version": plan.version,
        "code_version": provenance.code_version,
        "code_dirty_sha256": provenance.code_dirty_sha256,
        "lock_sha256": provenance.lock_sha256,
        "config": plan.config,
        "seed": plan.seed,
        "metrics": json.dumps(recorder.metrics, sort_keys=True),
        "peak_memory_bytes": None if context.runner == "ray" else peak.num_bytes,
        "host": provenance.host,
        "runner": context.runner,
        "prefect_flow_run_id": context.prefect_flow_run_id,
        "ray_job_id": recorder.ray_job_id,
    }
    return pa.table({name: [row[name]] for name in TABLES["runs"].names}, schema=TABLES["runs"])

"""Runs as OpenLineage events, for whoever asks: `ENDOFORGE_OPENLINEAGE` names a file, or the address of a service such as Marquez.

A run is a START and then a COMPLETE or a FAIL, both with all inputs: services show an edge only of the latest event that has both ends.
Things of a kind are one dataset, called as the table of the lake that lists them, `main.frames` for frame packs; curated datasets and
evaluation tasks have their own names. No file, video or patient is named, and no namespace has a path of a machine in it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from flows.runners import say
from warehouse.lineage import RunPlan, RunRecorder
from warehouse.private_files import as_invoked
from warehouse.records import Artifact
from warehouse.schema import DESCRIBED_TABLES
from warehouse.store import content_id

__all__ = ["Emission", "datasets_of", "emitted", "event_of"]

TARGET, NAMESPACE = "ENDOFORGE_OPENLINEAGE", "ENDOFORGE_OPENLINEAGE_NAMESPACE"
JOBS = "endoforge"
"""Namespace of jobs."""
_TIMEOUT_S = 5.0
_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = {
    "schema": "1-2-0/SchemaDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "parent": "1-2-0/ParentRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
}
_TABLES = {
    "video": "videos",
    "rejected_file": "rejects",
    "frame_pack": "frames",
    "clip_pack": "clips",
    "requalification": "requalified",
    "embedding_part": "embeddings",
    "holdout": "holdout",
    "similarity": "similarities",
    "dedup": "dedup",
    "cluster_tree": "clusters",
    "placement": "clusters",
    "selection": "selections",
    "checkpoint": "checkpoints",
    "score": "scores",
    "audit": "audits",
    "private_audit": "private_audits",
}
"""The table that lists the things of a kind; those of other kinds are datasets called as their kind."""
_NAMED = ("dataset", "task")
"""Kinds of which each thing has a name of its own, which people know."""


@dataclass(slots=True, kw_only=True)
class Emission:
    """A run that is being told about."""

    plan: RunPlan
    run: RunRecorder | None = None
    """set once there is one"""


@contextlib.contextmanager
def emitted(lake_root: Path, plan: RunPlan, *, flow_run_id: str | None) -> Iterator[Emission]:
    """Tell of a run that is done inside, if somebody asks; a service that does not answer is named once and spoils nothing.

    Args:
        lake_root: whose folder's name is the namespace of its datasets, `ducklake://NAME`, unless ENDOFORGE_OPENLINEAGE_NAMESPACE is set.
        plan: of the run.
        flow_run_id: Prefect's id of the flow that the run is a part of.
    """
    emission, target = Emission(plan=plan), os.environ.get(TARGET, "")
    if not target:
        yield emission
        return
    namespace = os.environ.get(NAMESPACE) or f"ducklake://{lake_root.absolute().name}"
    told: dict[str, Any] = {"run_id": str(uuid.uuid4()), "namespace": namespace, "flow_run_id": flow_run_id}

    def tell(kind: Literal["START", "COMPLETE", "FAIL"], **more: Any) -> None:
        run = emission.run
        inputs, outputs = (run.plan.inputs, run.outputs) if run is not None else (plan.inputs, ())
        _send(target, event_of(kind, stage=plan.stage, inputs=inputs, outputs=outputs, **told, **more))

    tell("START")
    try:
        yield emission
    except BaseException as error:
        tell("FAIL", error=type(error).__name__)  # its message may name a file
        raise
    tell("COMPLETE")


def event_of(
    kind: Literal["START", "COMPLETE", "FAIL"],
    *,
    stage: str,
    inputs: Iterable[Artifact],
    outputs: Iterable[Artifact],
    run_id: str,
    namespace: str,
    flow_run_id: str | None = None,
    error: str | None = None,
    at: datetime.datetime | None = None,
) -> dict[str, Any]:
    """One event, as plain values of JSON.

    Args:
        kind: what has happened.
        stage: of the run; the job's name.
        inputs: what the run reads, in every event.
        outputs: what it made; none at its start.
        run_id: UUID of this attempt.
        namespace: of datasets.
        flow_run_id: UUID of the Prefect run that this one is a part of.
        error: class of the exception that ended it.
        at: when; now unless given.
    """
    facets: dict[str, Any] = {}
    if flow_run_id is not None:
        facets["parent"] = _facet("parent", run={"runId": flow_run_id}, job={"namespace": JOBS, "name": "flow"})
    if error is not None:
        facets["errorMessage"] = _facet("errorMessage", message=error, programmingLanguage="Python")
    job_type = _facet("jobType", processingType="BATCH", integration="ENDOFORGE", jobType="STAGE")
    return {
        "eventType": kind,
        "eventTime": (at or datetime.datetime.now(datetime.UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "producer": _producer(),
        "schemaURL": _EVENT,
        "run": {"runId": run_id, "facets": facets},
        "job": {"namespace": JOBS, "name": stage, "facets": {"jobType": job_type}},
        "inputs": datasets_of(inputs, namespace=namespace),
        "outputs": datasets_of(outputs, namespace=namespace, are_outputs=True),
    }


def datasets_of(artifacts: Iterable[Artifact], *, namespace: str, are_outputs: bool = False) -> list[dict[str, Any]]:
    """The datasets that these things are parts of, by name, each with its columns and a version that their ids give."""
    by_name: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        by_name[_name(artifact)].append(artifact)
    found = []
    for name, parts in sorted(by_name.items()):
        dataset: dict[str, Any] = {"namespace": namespace, "name": name}
        ids = sorted({part.artifact_id for part in parts})
        dataset["facets"] = {"version": _facet("version", datasetVersion=content_id(ids)[:16])}
        if (table := DESCRIBED_TABLES.get(name.removeprefix("main."))) is not None:
            columns = [{"name": column, "type": str(each.type), "description": each.what} for column, each in table.columns.items()]
            dataset["facets"]["schema"] = _facet("schema", fields=columns)
        if are_outputs:
            counts = {"rowCount": [part.num_rows for part in parts], "size": [part.num_bytes for part in parts]}
            known = {what: sum(each or 0 for each in values) for what, values in counts.items() if None not in values}
            dataset["outputFacets"] = {"outputStatistics": _facet("outputStatistics", **known, fileCount=len(ids))}
        found.append(dataset)
    return found


def _name(artifact: Artifact) -> str:
    if artifact.kind in _NAMED:
        return f"{artifact.kind}s/{PurePosixPath(artifact.uri).name}"
    return f"main.{_TABLES[artifact.kind]}" if artifact.kind in _TABLES else artifact.kind


def _facet(name: str, **values: Any) -> dict[str, Any]:
    schema = _FACETS[name]
    definition = schema.partition("/")[2]
    return {"_producer": _producer(), "_schemaURL": f"{_SPEC}/facets/{schema}.json#/$defs/{definition}", **values}


def _producer() -> str:
    return f"urn:endoforge:{version('endoforge')}"


def _send(target: str, event: dict[str, Any]) -> None:
    """Append a line to a file, or post it."""
    try:
        if urlsplit(target).scheme not in ("http", "https"):
            path = Path(target.removeprefix("file://"))
            with as_invoked():  # who reads it may be another user
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:  # one write a line: other processes append to it too
                    file.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
            return
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENLINEAGE_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        url = target if urlsplit(target).path.strip("/") else f"{target.rstrip('/')}/api/v1/lineage"
        request = urllib.request.Request(url, data=json.dumps(event).encode(), headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass
    except (OSError, ValueError) as error:
        _name_failure(target, str(error))


_failed: set[str] = set()


def _name_failure(target: str, why: str) -> None:
    if target not in _failed:
        _failed.add(target)
        where = urlsplit(target)._replace(netloc=urlsplit(target).hostname or "", query="").geturl()  # without a password
        say(f"lineage: {where} takes no event ({why}); work goes on, and this is said once")

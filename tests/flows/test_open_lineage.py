"""OpenLineage events of runs: literal ones, and those that are written and posted."""

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde

from flows.job import Job
from flows.open_lineage import event_of
from flows.runners import make_runner
from warehouse.lake import open_lake
from warehouse.lineage import plan_run
from warehouse.records import Artifact

RUN_ID = "5d2e8d0c-6f5d-4a6e-9a86-4c5d8f1f4a11"
FACETS = "https://openlineage.io/spec/facets"


def without_producers(value: Any) -> Any:
    """The same values without `_producer`, whose end is the version."""
    if isinstance(value, dict):
        return {name: without_producers(part) for name, part in value.items() if name not in ("_producer", "producer")}
    return [without_producers(part) for part in value] if isinstance(value, list) else value


def test_an_event_is_what_the_specification_asks_for() -> None:
    event = event_of(
        "COMPLETE",
        stage="shard",
        inputs=[Artifact(artifact_id="s", kind="selection", uri="tables/main/selections")],
        outputs=[Artifact(artifact_id="d", kind="dataset", uri="datasets/nightly-1", num_bytes=30, num_rows=3)],
        run_id=RUN_ID,
        namespace="ducklake://clinic",
        flow_run_id=RUN_ID,
        at=datetime.datetime(2026, 11, 28, 1, 2, 3, tzinfo=datetime.UTC),
    )
    assert event["producer"].startswith("urn:endoforge:")
    told = without_producers(event)
    (schema,) = [each["facets"].pop("schema") for each in told["inputs"]]
    assert schema["_schemaURL"] == f"{FACETS}/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
    assert {"name", "type", "description"} == set(schema["fields"][0])
    assert "frame_id" in [field["name"] for field in schema["fields"]]
    version = f"{FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
    made = [each["facets"].pop("version") for each in (*told["inputs"], *told["outputs"])]
    assert [one["_schemaURL"] for one in made] == [version, version]
    assert made[0]["datasetVersion"] != made[1]["datasetVersion"]
    assert told == {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-28T01:02:03.000Z",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": RUN_ID,
            "facets": {
                "parent": {
                    "_schemaURL": f"{FACETS}/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet",
                    "run": {"runId": RUN_ID},
                    "job": {"namespace": "endoforge", "name": "flow"},
                }
            },
        },
        "job": {
            "namespace": "endoforge",
            "name": "shard",
            "facets": {
                "jobType": {
                    "_schemaURL": f"{FACETS}/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
                    **{"processingType": "BATCH", "integration": "ENDOFORGE", "jobType": "STAGE"},
                }
            },
        },
        "inputs": [{"namespace": "ducklake://clinic", "name": "main.selections", "facets": {}}],
        "outputs": [
            {
                "namespace": "ducklake://clinic",
                "name": "datasets/nightly-1",
                "facets": {},
                "outputFacets": {
                    "outputStatistics": {
                        "_schemaURL": f"{FACETS}/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet",
                        **{"rowCount": 3, "size": 30, "fileCount": 1},
                    }
                },
            }
        ],
    }


FACET_CLASSES: dict[str, Any] = {
    "parent": lambda run, job, **at: facet_v2.parent_run.ParentRunFacet(
        run=facet_v2.parent_run.Run(**run), job=facet_v2.parent_run.Job(**job), **at
    ),
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "schema": lambda fields, **at: facet_v2.schema_dataset.SchemaDatasetFacet(
        fields=[facet_v2.schema_dataset.SchemaDatasetFacetFields(**each) for each in fields], **at
    ),
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


def read_by_their_client(event: dict[str, Any]) -> event_v2.RunEvent:
    """The event in the classes that OpenLineage generates from its schemas; they refuse a field that they do not know."""

    def facets(told: dict[str, Any]) -> dict[str, Any]:
        read = {}
        for name, values in told.items():
            given = {key: value for key, value in values.items() if key not in ("_producer", "_schemaURL")}
            read[name] = FACET_CLASSES[name](**given, producer=values["_producer"])
            assert read[name]._schemaURL == values["_schemaURL"]
        return read

    def dataset(kind: Any, told: dict[str, Any]) -> Any:
        return kind(**{key: facets(value) if key.lower().endswith("facets") else value for key, value in told.items()})

    return event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]],
        run=event_v2.Run(event["run"]["runId"], facets(event["run"]["facets"])),
        job=event_v2.Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"])),
        inputs=[dataset(event_v2.InputDataset, each) for each in event["inputs"]],
        outputs=[dataset(event_v2.OutputDataset, each) for each in event["outputs"]],
        **{key: event[key] for key in ("eventTime", "producer")},
    )


def without_empty(value: Any) -> Any:
    """The same values without what holds nothing: their client writes out what an event may leave away."""
    if isinstance(value, dict):
        return {name: without_empty(part) for name, part in value.items() if part not in ({}, [])}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", ["START", "COMPLETE", "FAIL"])
def test_the_client_of_open_lineage_reads_an_event_and_writes_it_back(kind: Literal["START", "COMPLETE", "FAIL"]) -> None:
    event = event_of(
        kind,
        stage="shard",
        inputs=[Artifact(artifact_id="s", kind="selection", uri="tables/main/selections", num_rows=3)],
        outputs=[Artifact(artifact_id="d", kind="dataset", uri="datasets/nightly-1", num_bytes=30, num_rows=3)],
        run_id=RUN_ID,
        namespace="ducklake://clinic",
        flow_run_id=RUN_ID,
        error="OSError" if kind == "FAIL" else None,
    )
    assert without_empty(Serde.to_dict(read_by_their_client(event))) == without_empty(event)


def test_the_outputs_of_one_stage_are_the_inputs_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDOFORGE_OPENLINEAGE", str(tmp_path / "events" / "lineage.jsonl"))
    video = Artifact(artifact_id="v", kind="video", uri="file:///archive/patient-1.mp4")
    packs = [Artifact(artifact_id=name, kind="frame_pack", uri=f"frames/{name}.tar", num_bytes=5, num_rows=2) for name in "pq"]
    part = Artifact(artifact_id="e", kind="embedding_part", uri="embeddings/e.parquet", num_rows=4)
    with open_lake(tmp_path / "clinic", create=True) as lake:
        job = Job(lake=lake, runner=make_runner("serial", None))
        for stage, inputs, outputs in (("ingest", [video], packs), ("embed", packs, [part])):
            with job.record(plan_run(stage=stage, version=1, config={}, inputs=inputs)) as run:
                run.output(*outputs)
    text = (tmp_path / "events" / "lineage.jsonl").read_text()
    assert "patient-1" not in text
    assert str(tmp_path) not in text
    events = [json.loads(line) for line in text.splitlines()]
    assert [(event["eventType"], event["job"]["name"]) for event in events] == [
        *(("START", "ingest"), ("COMPLETE", "ingest")),
        *(("START", "embed"), ("COMPLETE", "embed")),
    ]
    assert len({event["run"]["runId"] for event in events}) == 2
    names = [[[dataset["name"] for dataset in event[side]] for side in ("inputs", "outputs")] for event in events]
    assert names[:2] == [[["main.videos"], []], [["main.videos"], ["main.frames"]]]
    assert names[2:] == [[["main.frames"], []], [["main.frames"], ["main.embeddings"]]]
    (made,), (read,) = events[1]["outputs"], events[3]["inputs"]
    assert (made["namespace"], read["namespace"]) == ("ducklake://clinic", "ducklake://clinic")
    assert made["facets"]["version"] == read["facets"]["version"]
    assert "drop_reason" in [field["name"] for field in made["facets"]["schema"]["fields"]]
    statistics = made["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"], statistics["fileCount"]) == (4, 10, 2)


def test_a_failed_run_is_posted_without_its_message_and_a_silent_service_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    posted: list[tuple[str, dict[str, Any]]] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("ENDOFORGE_OPENLINEAGE", address)
    monkeypatch.setenv("ENDOFORGE_OPENLINEAGE_NAMESPACE", "ducklake://endoscopy")
    plan = plan_run(stage="dedup", version=1, config={}, inputs=[Artifact(artifact_id="v", kind="video", uri="file:///patient.mp4")])
    with open_lake(tmp_path / "lake", create=True) as lake:
        job = Job(lake=lake, runner=make_runner("serial", None))
        with pytest.raises(OSError, match="patient"), job.record(plan):
            raise OSError("patient.mp4 cannot be read")
        assert [(path, event["eventType"]) for path, event in posted] == [("/api/v1/lineage", "START"), ("/api/v1/lineage", "FAIL")]
        assert posted[1][1]["run"]["facets"]["errorMessage"]["message"] == "OSError"
        assert posted[1][1]["inputs"][0]["namespace"] == "ducklake://endoscopy"
        server.shutdown()
        server.server_close()
        with job.record(plan) as run:
            run.output(Artifact(artifact_id="d", kind="dedup", uri="tables/main/dedup"))
    said = capsys.readouterr().err
    assert said.count("lineage: http://127.0.0.1/ takes no event") + said.count("lineage: http://127.0.0.1 takes no event") == 1

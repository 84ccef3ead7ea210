"""OpenLineage events of runs: literal ones, and those of a real ingest and embedding."""

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from curation.phantom.phantom import render_video
from flows.cli.cli import main
from flows.job import Job
from flows.open_lineage import event_of
from flows.runners import make_runner
from tests.flows.conftest import TINY
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


def test_the_outputs_of_one_stage_are_the_inputs_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_video(tmp_path / "patient-1.mp4", config=TINY, patient=0)
    monkeypatch.setenv("ENDOFORGE_OPENLINEAGE", str(tmp_path / "events" / "lineage.jsonl"))
    lake = ["--lake", str(tmp_path / "clinic"), "--runner", "serial"]
    assert main(["ingest", str(tmp_path / "patient-1.mp4"), "--text", "off", "--fps", "2", *lake]) == 0
    assert main(["embed", *lake]) == 0
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
    assert "drop_reason" in [field["name"] for field in made["facets"]["schema"]["fields"]]


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

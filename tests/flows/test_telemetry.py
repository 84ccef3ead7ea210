"""The networks that look for text and embed frames ask nothing of any other machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curation.phantom.phantom import render_video
from tests.flows.conftest import TINY
from tests.flows.outside import observed_from_outside

SILENT_ANYWAY = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST")
"""Variables in whose presence ONNX Runtime reports nothing, whatever EndoForge says."""


@pytest.mark.slow
def test_reading_text_and_embedding_call_no_other_machine(tmp_path: Path) -> None:
    render_video(tmp_path / "a.mp4", config=TINY, patient=0)
    lake = str(tmp_path / "lake")
    with observed_from_outside() as outside:
        theirs = {name: value for name, value in os.environ.items() if name not in SILENT_ANYWAY}
        for words in (["ingest", str(tmp_path / "a.mp4"), "--fps", "4"], ["embed"]):
            command = [sys.executable, "-m", "flows.cli.cli", *words, "--lake", lake, "--workers", "1"]
            process = subprocess.Popen(command, env={**theirs, **outside.environment})
            outside.processes.add(process.pid)
            assert process.wait(timeout=300) == 0
        assert (outside.requests, outside.connections) == ([], set())

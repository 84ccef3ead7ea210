"""What a wrong argument costs: each command refuses it before anything is loaded that only work needs, and so in a fraction of a second."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.cli.cli import COMMANDS, main
from warehouse.lake import open_lake

HEAVY = (
    *("av", "cv2", "duckdb", "faiss", "fsspec", "numpy", "onnxruntime", "pandas", "pebble", "PIL", "prefect", "pyarrow", "pydantic"),
    *("ray", "scipy", "sklearn", "timm", "torch"),
)
"""Modules of which none is loaded for a refusal; the lightest takes as long as half of one."""

NO_REFUSAL = {
    "doctor": "it loads everything to see whether it can be loaded",
    "tables": "which names there are, a lake made in memory says",
}

OF_NO_LAKE = {
    "alerts": (),
    "atlas": (),
    "backup": ("copy",),
    "compare": ("a", "b"),
    "curate": ("--name", "first", "--size", "10"),
    "datasets": (),
    "dedup": (),
    "diff": ("first", "second"),
    "embed": (),
    "export": ("first", "--format", "hf", "--out", "exported"),
    "export-model": ("RUN", "--out", "model"),
    "forget": ("--patient", "P0042", "--dry-run"),
    "leaderboard": (),
    "lineage": ("first",),
    "maintain": (),
    "predict": ("video.mp4", "--head", "SCORE", "--out", "predicted"),
    "pretrain": ("--dataset", "first", "--recipe", "smoke"),
    "privacy-audit": (),
    "remove-out-of-body": ("--labels", "rooms"),
    "report": (),
    "requalify": (),
    "select-for-labels": ("--size", "10"),
    "snapshots": (),
    "sql": ("FROM funnel",),
    "verify": ("first",),
}
"""Arguments beside --lake, which names a folder that is not there."""

OTHERS = {
    "check-data": (("nowhere",), "does not exist"),
    "demo": (("--out", "{file}"), "is no folder"),
    "deploy": (("nowhere",), "is no file"),
    "evaluate": (("--model", "x", "--task", "auto", "--data", "nowhere"), "does not exist"),
    "ingest": (("nowhere", "--lake", "lake"), "is no file, no folder"),
    "init-lake": (("--lake", "lake", "--catalog", "x"), "is not supported"),
    "plan": (("nowhere", "--size", "100", "--recipe", "smoke"), "is no file, no folder"),
    "restore": (("nowhere", "--lake", "lake"), "no lake in nowhere"),
    "run": (("nowhere", "--lake", "lake", "--size", "100", "--recipe", "smoke"), "is no file, no folder"),
}

DRIVER = """
import contextlib, io, json, sys
from flows.cli.cli import main
cases, heavy = json.load(sys.stdin)
answers = []
for arguments in cases:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    answers.append([code, said.getvalue(), [name for name in heavy if name in sys.modules]])
print(json.dumps(answers))
"""


def test_every_command_refuses_a_wrong_argument_before_it_loads_what_work_needs(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    cases = [([name, *told, "--lake", "nowhere"], "there is no lake in") for name, told in OF_NO_LAKE.items()]
    for name, (told, message) in OTHERS.items():
        cases.append(([name, *(argument.format(file=tmp_path / "a file") for argument in told)], message))
    assert {words[0] for words, _ in cases} | NO_REFUSAL.keys() == COMMANDS.keys()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([[words for words, _ in cases], HEAVY]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for (words, message), (code, said, loaded) in zip(cases, json.loads(done.stdout), strict=True):
        assert (code, loaded, said.count("\n")) == (1, [], 1), (words, said)
        assert message in said, (words, said)


def test_ctrl_c_during_a_query_is_an_interruption_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_lake(tmp_path / "lake", create=True).close()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored where the shell does so
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        assert main(["sql", "--lake", str(tmp_path / "lake"), "SELECT sum(sqrt(range)) FROM range(1_000_000_000_000)"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "endoforge: interrupted; the same command goes on from here\n"

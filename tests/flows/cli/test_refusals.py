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
    "publish": ("first", "s3://bucket/first"),
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

NOT_IN_A_LAKE = {
    "atlas": (("--encoder", "nope"), "is embedded by nope"),
    "curate": (("--name", "first", "--size", "10", "--encoder", "nope"), "is embedded by nope"),
    "dedup": (("--encoder", "nope"), "is embedded by nope"),
    "diff": (("first", "second"), "there is no dataset 'first'"),
    "export": (("first", "--format", "hf", "--out", "exported"), "there is no dataset 'first'"),
    "export-model": (("RUN", "--out", "model"), "'RUN' is no finished pretraining run"),
    "predict": (("video.mp4", "--head", "SCORE", "--out", "predicted"), "0 scores of this lake"),
    "pretrain": (("--dataset", "first", "--recipe", "smoke"), "there is no dataset 'first'"),
    "privacy-audit": (("--sign-off", "a0", "--reviewer", "someone"), "'a0' names 0 audits"),
    "publish": (("first", "s3://bucket/first"), "there is no dataset 'first'"),
    "report": ((), "no pretraining run of"),
    "select-for-labels": (("--size", "10", "--encoder", "nope"), "is embedded by nope"),
    "verify": (("first",), "there is no dataset 'first'"),
}
"""Names that an empty lake does not have, which DuckDB alone has to be loaded to say."""

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


def refusals(cases: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    """Exit code, message and heavy modules loaded so far for each of these command lines, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps([cases, HEAVY]), cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return [(code, said, loaded) for code, said, loaded in json.loads(done.stdout)]


def test_every_command_refuses_a_wrong_argument_before_it_loads_what_work_needs(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    cases = [([name, *told, "--lake", "nowhere"], "there is no lake in") for name, told in OF_NO_LAKE.items()]
    for name, (told, message) in OTHERS.items():
        cases.append(([name, *(argument.format(file=tmp_path / "a file") for argument in told)], message))
    assert {words[0] for words, _ in cases} | NO_REFUSAL.keys() == COMMANDS.keys()
    for (words, message), (code, said, loaded) in zip(cases, refusals([words for words, _ in cases], tmp_path), strict=True):
        assert (code, loaded, said.count("\n")) == (1, [], 1), (words, said)
        assert message in said, (words, said)


def test_a_name_that_a_lake_does_not_have_is_refused_with_duckdb_alone(tmp_path: Path) -> None:
    open_lake(tmp_path / "lake", create=True).close()
    cases = [([name, *told, "--lake", "lake"], message) for name, (told, message) in NOT_IN_A_LAKE.items()]
    for (words, message), (code, said, loaded) in zip(cases, refusals([words for words, _ in cases], tmp_path), strict=True):
        assert (code, said.count("\n")) == (1, 1), (words, said)
        assert message in said, (words, said)
        assert set(loaded) <= {"duckdb", "numpy", "pandas", "pyarrow"}, words


def test_ctrl_c_during_a_query_is_an_interruption_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_lake(tmp_path / "lake", create=True).close()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored where the shell does so
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        assert main(["sql", "--lake", str(tmp_path / "lake"), "SELECT sum(sqrt(range)) FROM range(1_000_000_000_000)"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "endoforge: interrupted; the same command goes on from here\n"

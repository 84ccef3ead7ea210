"""The list of commands, names that are nearly right, and the lake that the environment names."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.cli import COMMANDS, GROUPS, main
from tests.flows.cli.test_advice import flags_of
from warehouse.lake import open_lake


def test_every_command_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(COMMANDS)
    assert listed == [name for names in GROUPS.values() for name in names]


def test_a_command_that_is_nearly_right_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    assert capsys.readouterr().err == "endoforge: there is no command 'evalute'; did you mean `endoforge evaluate`?\n"


def test_the_environment_names_the_lake_of_a_command_that_is_told_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("usual", "other"):
        open_lake(tmp_path / name, create=True).close()
    monkeypatch.setenv("ENDOFORGE_LAKE", str(tmp_path / "usual"))
    (tmp_path / "usual" / "tags.json").write_text('{"paper": 1}')
    assert main(["snapshots"]) == 0
    assert "[paper]" in capsys.readouterr().out
    assert main(["snapshots", f"--lake={tmp_path / 'other'}"]) == 0
    assert "[paper]" not in capsys.readouterr().out


def test_an_interrupt_before_the_command_has_begun_is_one_sentence() -> None:
    # a shell's background job ignores SIGINT, and what it starts inherits that
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import flows.cli, os; os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "endoforge: interrupted; the same command goes on from here\n")


OF_ANOTHER_RUN = {
    *("--debug", "--lake", "--metrics-file", "--runner", "--summary", "--workers"),  # of the run itself
    *(
        "--model",
        "--checkpoint",
        "--data",
        "--encoder",
        "--page",
        "--replay",
        "--allow-download",
    ),  # its model, folders and report
}
"""Options of stages that `run` has once for all of them, or that ask for something else than its next stage."""


@pytest.mark.filterwarnings("ignore:get_parser")
def test_run_takes_each_option_of_its_stages_under_one_name() -> None:
    taken = flags_of("run")
    for stage in ("ingest", "embed", "curate", "evaluate"):
        told = {flag for flag in flags_of(stage) if not flag.startswith("--no-") and flag != "-h"}
        prefix = "--" if stage == "curate" else f"--{stage}."
        missing = {flag for flag in told - OF_ANOTHER_RUN if flag not in taken and flag.replace("--", prefix, 1) not in taken}
        assert missing == set(), stage

"""The list of commands, names that are nearly right, and the lake that the environment names."""

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

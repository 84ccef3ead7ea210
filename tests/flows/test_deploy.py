"""What `endoforge deploy` reads of a file, and what it refuses before it asks a server."""

from pathlib import Path
from uuid import UUID

import pytest

from flows.cli.cli import main
from flows.deploy import read_plans, silent_runs

REPOSITORY = Path(__file__).parents[2]


def test_the_example_of_the_repository_is_two_checked_deployments() -> None:
    nightly, weekly = read_plans(REPOSITORY / "prefect.yaml")
    assert (nightly.flow.name, weekly.flow.name) == ("endoforge-nightly", "endoforge-weekly")
    assert [one.schedule.cron for one in (*nightly.schedules, *weekly.schedules)] == ["0 1 * * *", "0 6 * * 6"]  # type: ignore[union-attr]
    assert (nightly.pool, nightly.concurrency_limit) == ("endoforge", 1)
    settings = nightly.flow.parameters.definitions["AlertConfig"]["properties"]
    assert "as a share (0-1)" in settings["max_reject_share"]["description"]
    assert "keep_days" in weekly.flow.parameters.definitions["UpkeepConfig"]["properties"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "lists no deployments"),
        ("deployments: [{name: a, entrypoint: other:flow}]\n", "entrypoint 'other:flow'"),
        ("deployments: [{name: a, entrypoint: 'flows.pipeline:nightly_flow', parameters: {lake: /l, size: 3}}]\n", "videos"),
        (
            "deployments: [{name: a, entrypoint: 'flows.pipeline:nightly_flow',"
            " parameters: {lake: /l, size: 3, videos: [/v], alerts: {max_rejects: 1}}}]\n",
            "max_rejects",
        ),
        (
            "deployments: [{name: a, entrypoint: 'flows.pipeline:weekly_flow',"
            " parameters: {lake: /l, recipe: smoke, upkeep: {keep_days: -1}}}]\n",
            "keep_days -1",
        ),
    ],
)
def test_a_file_that_says_something_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_plans(tmp_path / "prefect.yaml")


def test_the_command_checks_a_file_without_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["deploy", str(REPOSITORY / "prefect.yaml"), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "deployment endoforge-nightly/nightly can be written",
        "deployment endoforge-weekly/weekly can be written",
    ]
    assert main(["deploy", str(tmp_path / "nowhere.yaml")]) == 1
    assert "is no file; give a prefect.yaml" in capsys.readouterr().err


def test_a_silent_run_is_one_that_misses_three_heartbeats_or_never_begins() -> None:
    automation = silent_runs(60, deployments=[UUID(int=1)])
    told = automation.model_dump(mode="json")
    assert told["trigger"]["within"] == 180.0
    assert {f"prefect.flow-run.{name}" for name in ("heartbeat", "pull-step.executed", "Pending")} <= set(told["trigger"]["after"])
    assert "prefect.flow-run.Pending" not in told["trigger"]["expect"]
    assert {"prefect.flow-run.heartbeat", "prefect.flow-run.Completed"} <= set(told["trigger"]["expect"])
    assert [(action["type"], action["state"]) for action in told["actions"]] == [("change-flow-run-state", "CRASHED")]

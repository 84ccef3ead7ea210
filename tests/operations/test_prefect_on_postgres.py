"""A Prefect server whose database is Postgres starts the nightly deployment by its cron schedule."""

import time

import pytest

from tests.helpers.postgres import PASSWORD, Server, binaries
from tests.operations.drill_killed_runs import set_schedule, site, wait_for
from warehouse.lake import open_lake

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(binaries() is None, reason="no Postgres server is installed; apt-get install postgresql"),
]


def test_a_cron_schedule_starts_a_run_by_itself(postgres: Server) -> None:
    postgres.tell("postgres", "CREATE DATABASE prefect")
    url = f"postgresql+asyncpg://endoforge:{PASSWORD}@/prefect?host={postgres.folder}"
    began = time.monotonic()
    with site(PREFECT_SERVER_DATABASE_CONNECTION_URL=url) as on:
        print(f"server up and deployed after {time.monotonic() - began:.0f} s")
        on.start_worker()
        set_schedule(on, {"cron": "* * * * *"})
        began = time.monotonic()
        wait_for(on.runs, "a run")
        print(f"a run had begun after {time.monotonic() - began:.0f} s")
        (done, *_) = wait_for(lambda: [run for run in on.runs() if run["state_type"] == "COMPLETED"], "a complete run")
        print(f"one was complete after {time.monotonic() - began:.0f} s")
        assert done["auto_scheduled"]
        with open_lake(on.folder / "lake", read_only=True) as lake:
            assert lake.rows("SELECT count(*) AS n FROM videos") == [{"n": 1}]
    assert int(postgres.tell("prefect", "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'")) >= 1

"""A Postgres server for each file of tests that asks for one."""

from collections.abc import Iterator

import pytest

from tests.helpers.postgres import Server, server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running

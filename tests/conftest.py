"""For all tests."""

import os
from collections.abc import Iterator

# Before any library reads it: threads of two test processes on two cores would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def same_priority() -> Iterator[None]:
    """No test leaves its process with another scheduling: a real-time one starves whatever runs beside it."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before

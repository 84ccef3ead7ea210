"""For all tests."""

import atexit
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator

# Before any library reads it: threads of two test processes on two cores would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# One Prefect database for all lakes of a test process: every new one costs its 114 migrations, some 18 CPU s.
if "prefect-of-tests-" in os.environ.setdefault("PREFECT_HOME", "prefect-of-tests-"):  # a worker inherits its parent's, and has its own
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-of-tests-")
    atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Of an S3 server on loopback, one for each test process; `tests.helpers.object_store.empty_bucket` empties it for a test."""
    from tests.helpers.object_store import s3_server  # most tests need none

    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def same_priority() -> Iterator[None]:
    """No test leaves its process with another scheduling: a real-time one starves whatever runs beside it."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests after a third of the quick ones, and those with most of them first.

    A worker that begins a long file last would run on alone. At the very start CI's checks run beside the tests, and what is slow often
    asks that something ends within seconds.
    """
    num_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    quick = [path for path in dict.fromkeys(item.path for item in items) if path not in num_slow]
    third = len(quick) // 3
    order = [*quick[:third], *(path for path, _ in num_slow.most_common()), *quick[third:]]
    place = {path: number for number, path in enumerate(order)}
    items.sort(key=lambda item: place[item.path])

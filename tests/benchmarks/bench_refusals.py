"""CPU seconds of a refusal of each command: a wrong path, or a name that an empty lake does not have. Each is a process of its own.

python -m tests.benchmarks.bench_refusals [REPEATS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.flows.cli.test_refusals import NOT_IN_A_LAKE, OF_NO_LAKE, OTHERS
from warehouse.lake import open_lake

IN_A_LAKE = {
    **{name: told for name, (told, _) in NOT_IN_A_LAKE.items()},
    "compare": ("a", "b"),
    "forget": ("--patient", "P0042", "--dry-run"),
    "lineage": ("0123456789",),
    "sql": ("FROM nowhere",),
}


def cpu_seconds(words: list[str], folder: Path) -> float:
    """User and system time of one refusal.

    Raises:
        RuntimeError: it was none.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    if done.returncode != 1:
        raise RuntimeError(f"{words} gave {done.returncode}, expected a refusal: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "a file").touch()
        open_lake(folder / "lake", create=True).close()
        cases = {name: [name, *told, "--lake", "nowhere"] for name, told in OF_NO_LAKE.items()}
        cases |= {name: [name, *(each.format(file=folder / "a file") for each in told)] for name, (told, _) in OTHERS.items()}
        print("| command | wrong path or lake | name that the lake does not have |\n|---|---|---|")
        for name, words in cases.items():
            found = [words, [name, *IN_A_LAKE[name], "--lake", "lake"]] if name in IN_A_LAKE else [words]
            least = [f"{min(cpu_seconds(each, folder) for _ in range(repeats)):.2f}" for each in found]
            print(f"| {name} | {' | '.join([*least, ''][:2])} |", flush=True)


if __name__ == "__main__":
    main()

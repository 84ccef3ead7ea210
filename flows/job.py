"""What every stage run is given: the lake, where to run, and on whose behalf."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from curation.sources import scratch_folder
from flows.open_lineage import emitted
from flows.runners import Runner, ray_job_id, say
from flows.tally import current_tally
from warehouse.lake import Lake
from warehouse.lineage import RunContext, RunPlan, RunRecorder, completed_run_id, record_run, run_outputs
from warehouse.records import Artifact

__all__ = ["Job", "one_at_a_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One lake, one runner, one occasion."""

    lake: Lake
    runner: Runner
    prefect_flow_run_id: str | None = None

    @contextlib.contextmanager
    def record(self, plan: RunPlan) -> Iterator[RunRecorder]:
        """Record a run of this job, with Ray's job id if it ran there; see `record_run`."""
        context = RunContext(runner=self.runner.name, prefect_flow_run_id=self.prefect_flow_run_id)
        tally, started = current_tally(), time.monotonic()
        try:
            told = emitted(self.lake.root, plan, flow_run_id=self.prefect_flow_run_id)
            with told as emission, record_run(self.lake, plan, context) as run:
                emission.run = run
                try:
                    yield run
                finally:
                    if self.runner.name == "ray":
                        run.ray_job_id = ray_job_id()
        except BaseException:
            tally.ran(plan.stage, plan.run_id, seconds=time.monotonic() - started, metrics={}, has_failed=True)
            raise
        if not run.is_void:
            tally.ran(plan.stage, run.run_id, seconds=time.monotonic() - started, metrics=run.metrics)

    def done(self, plan: RunPlan) -> Artifact | None:
        """The one artifact that a committed run of that plan made; None if there is no such run."""
        run_id = completed_run_id(self.lake, plan)
        return run_outputs(self.lake, run_id)[0] if run_id else None

    def once(self, plan: RunPlan, work: Callable[[RunRecorder, Path], Artifact], *, resumes: bool = False) -> Artifact:
        """The artifact of a plan: found if the plan is committed, else made by `work` and recorded.

        Args:
            plan: what is to be made.
            work: gets the run and a folder of its own, which goes after the commit; returns the artifact.
            resumes: keep the folder of interrupted work, so that the next try goes on from it; one process at a time.
        """
        if done := self.done(plan):
            current_tally().reused(plan.stage)
            return done
        with self._kept_folder(plan) if resumes else scratch_folder(self.lake.root / "staging" / plan.stage) as folder:
            if resumes and (done := self.done(plan)):  # by the process that this one waited for
                return done
            with self.record(plan) as run:
                made = work(run, folder)
                run.output(made)
        return made

    @contextlib.contextmanager
    def _kept_folder(self, plan: RunPlan) -> Iterator[Path]:
        staging = self.lake.root / "staging"
        folder = staging / plan.stage / plan.run_id
        with one_at_a_time(staging / f"{plan.run_id}.lock", busy=f"another process works on {plan.run_id}"):
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
            shutil.rmtree(folder)


@contextlib.contextmanager
def one_at_a_time(lock: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock file, for work in files that two processes would name alike; says `busy` if another process holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        say(f"{busy}; waiting")
        held.acquire()
    try:
        yield
    finally:
        held.release()

"""What every stage run is given: the lake, where to run, and on whose behalf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.runners import Runner, ray_job_id
from warehouse.lake import Lake
from warehouse.lineage import RunContext, RunPlan, RunRecorder, completed_run_id, record_run, run_outputs
from warehouse.records import Artifact

__all__ = ["Job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One lake, one runner, one occasion."""

    lake: Lake
    runner: Runner
    prefect_flow_run_id: str | None = None

    @contextmanager
    def record(self, plan: RunPlan) -> Iterator[RunRecorder]:
        """Record a run of this job, with Ray's job id if it ran there; see `record_run`."""
        context = RunContext(runner=self.runner.name, prefect_flow_run_id=self.prefect_flow_run_id)
        with record_run(self.lake, plan, context) as run:
            try:
                yield run
            finally:
                if self.runner.name == "ray":
                    run.ray_job_id = ray_job_id()

    def done(self, plan: RunPlan, kind: str) -> Artifact | None:
        """What a committed run of that plan made, or None where there is none."""
        run_id = completed_run_id(self.lake, plan)
        return run_outputs(self.lake, run_id, kind)[0] if run_id else None

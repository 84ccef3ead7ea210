"""What every stage run is given: the lake, where to run, and on whose behalf."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from flows.runners import Runner
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

    def record(self, plan: RunPlan) -> AbstractContextManager[RunRecorder]:
        """Record a run of this job; see `record_run`."""
        return record_run(self.lake, plan, RunContext(runner=self.runner.name, prefect_flow_run_id=self.prefect_flow_run_id))

    def done(self, plan: RunPlan, kind: str) -> Artifact | None:
        """What a committed run of that plan made, or None where there is none."""
        run_id = completed_run_id(self.lake, plan)
        return run_outputs(self.lake, run_id, kind)[0] if run_id else None

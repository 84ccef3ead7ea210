"""The demonstration: phantom videos and labelled sets, then the same flow that real videos take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from curation.holdout import HoldoutConfig
from curation.ingest import IngestConfig
from curation.phantom import (
    PhantomConfig,
    eval_patients,
    phantom_eval_patient,
    phantom_motion_patient,
    phantom_video,
    train_patients,
    write_archive,
    write_eval_index,
    write_motion_index,
)
from curation.sources import patient_key
from evaluation.config import EvaluateConfig
from flows.pipeline import run_flow
from flows.runners import Runner, RunnerName, make_runner, say, successes, track

__all__ = ["run_demo"]

SAMPLING_FPS = 4.0
"""phantom videos are short: at one frame a second there would be too few frames to choose from"""


def run_demo(out: Path, *, phantom: PhantomConfig, size: int, recipe: str, runner: RunnerName, workers: int | None) -> Path:
    """Fill a folder with videos/, their manifest, evaluation/, lake/ and report.html; typed again, it recomputes nothing."""
    _make_phantom(out, phantom, make_runner(runner, workers))
    write_archive(out, config=phantom)
    if patient_key() is None:
        os.environ["ENDOFORGE_PATIENT_KEY_FILE"] = str(out / "patients.key")
    tasks = [(name, str(out / "evaluation")) for name in ("landmarks", "grades", "polyps")]
    if phantom.motion_pairs:
        tasks.append(("clips", str(out / "evaluation" / "motion")))
    report = run_flow(
        videos=[str(out / "videos.csv")],
        holdout=HoldoutConfig(holdout=(str(out / "holdout.csv"),)),
        lake=str(out / "lake"),
        size=size,
        recipe=recipe,
        name="phantom",
        validation=str(out / "evaluation"),
        validation_task="landmarks",
        evaluations=tasks,
        ingest=IngestConfig(fps=SAMPLING_FPS),
        evaluate=EvaluateConfig(image_size="own"),  # at the 48 pixels of the demo's model the encoder would be no match for anything
        runner=runner,
        workers=workers,
    )
    shutil.copyfile(report, out / "report.html")
    return out / "report.html"


def _make_phantom(out: Path, config: PhantomConfig, runner: Runner) -> None:
    videos, evaluation = str(out / "videos"), str(out / "evaluation")
    rendered = runner.map(phantom_video, train_patients(config), out_dir=videos, config=config)
    for _ in track(successes(rendered, stage="phantom"), description="render videos", total=len(train_patients(config))):
        pass
    labelled = runner.map(phantom_eval_patient, eval_patients(config), out_dir=evaluation, config=config)
    evidence = list(track(successes(labelled, stage="phantom"), description="render labelled sets", total=len(eval_patients(config))))
    counts = write_eval_index(evidence, out_dir=evaluation, config=config)
    if config.motion_pairs:
        counts["motion"] = _make_motion(Path(evaluation) / "motion", config, runner)
    say(f"phantom: {config.num_train_videos} videos; labelled: {', '.join(f'{name} {count}' for name, count in counts.items())}")


def _make_motion(out: Path, config: PhantomConfig, runner: Runner) -> int:
    """Clips that only motion tells apart, as a set of the task `clips`; gives their number."""
    made = runner.map(phantom_motion_patient, eval_patients(config), out_dir=str(out), config=config)
    evidence = list(track(successes(made, stage="phantom"), description="render motion clips", total=len(eval_patients(config))))
    return write_motion_index(evidence, out_dir=str(out), config=config)

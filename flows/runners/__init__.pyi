from .attempt import Failure as Failure, WrongMachine as WrongMachine
from .progress import say as say, track as track, track_steps as track_steps
from .runners import (
    Runner as Runner,
    RunnerName as RunnerName,
    make_runner as make_runner,
    raise_if_machine_failed as raise_if_machine_failed,
    successes as successes,
)

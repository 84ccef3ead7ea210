from .attempt import Failure as Failure, WrongMachine as WrongMachine
from .progress import say as say, say_undone as say_undone, told_to as told_to, track as track, track_steps as track_steps
from .ray_start import is_local as is_local, ray_job_id as ray_job_id, start_ray as start_ray
from .resources import Resources as Resources
from .runner_name import RunnerName as RunnerName
from .runners import (
    Runner as Runner,
    make_runner as make_runner,
    raise_if_machine_failed as raise_if_machine_failed,
    successes as successes,
)

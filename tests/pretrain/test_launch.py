"""Ray Train with real workers, on loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from evaluation.validate import checkpoint_scores
from flows.runners import start_ray
from pretrain.config import PretrainConfig
from pretrain.failures import TrainingError
from pretrain.launch import pretrain
from pretrain.metrics import newest_row, read_metrics
from pretrain.notices import notices_after
from pretrain.views import FixedViews


def _die_at_step_6_until_allowed(folder: str, *, allowed: str) -> tuple[str, float]:
    """Take the first worker's process with it, as an out-of-memory kill would."""
    if "step_0000003" in folder:
        raylet = psutil.Process().parent()
        assert raylet is not None
        Path(f"{allowed}.sockets").write_text(json.dumps(_listening(raylet.children(recursive=True))))
    if "step_0000006" in folder and not Path(allowed).exists():
        with open(f"{allowed}.deaths", "a") as file:
            file.write("x")
        os._exit(1)
    return "constant", 0.5


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    start_ray()
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]  # workers cannot import tests
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_local_ray_listens_on_loopback_only() -> None:
    listening = _listening(psutil.Process().children(recursive=True))
    ours = {name for name, _ in listening}
    assert {"gcs_server", "raylet"} <= ours
    assert {address for _, address in listening} <= LOOPBACK


LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def _listening(processes: list[psutil.Process]) -> list[tuple[str, str]]:
    """Name and address of each of these processes' listening TCP sockets."""
    return [
        (process.name(), connection.laddr.ip)
        for process in processes
        for connection in _ask(partial(process.net_connections, kind="tcp"))
        if connection.status == psutil.CONN_LISTEN
    ]


def _ask(question: Callable[[], list[Any]]) -> list[Any]:
    """The answer about a process, or nothing where it has ended or is not ours."""
    try:
        return question()
    except psutil.Error:
        return []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Ray starts workers four times, each in some seconds on a quiet machine
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("retries", [0, pytest.param(1, marks=pytest.mark.drill)])
def test_two_workers_that_keep_dying_end_in_an_error_and_one_worker_continues_where_they_stopped(
    retries: int, micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(micro, checkpoint=dataclasses.replace(micro.checkpoint, validate_start=False))
    allowed = tmp_path / "allowed"
    validate = partial(_die_at_step_6_until_allowed, allowed=str(allowed))
    run = partial(pretrain, config, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=validate)
    seen: list[int] = []
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match=f"failed more than {retries} times, the last time because a worker"):
        run(num_workers=2, max_worker_failures=retries, progress=lambda done, total, values: seen.append(done))
    assert signal.getsignal(signal.SIGINT) is interrupt  # Ray Train takes it
    sockets = json.loads((tmp_path / "allowed.sockets").read_text())  # of the workers while both train
    assert sum(name.startswith("ray::") for name, _ in sockets) >= 2
    assert {address for _, address in sockets} <= LOOPBACK
    assert (tmp_path / "allowed.deaths").read_text() == "x" * (1 + retries)  # what Ray tries again begins with the interrupted validation
    assert max(seen) in (range(7) if not retries else (6,))  # looked at each second
    said, _ = notices_after(tmp_path / "run", 0)
    assert [sentence.endswith("training starts again from the last checkpoint") for sentence in said] == [True] * retries
    before = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if row[1] == "loss/total"]

    allowed.touch()
    result = run(num_workers=1, backend="ray" if retries else "local")
    losses = [row for row in read_metrics(result.metrics_path) if row[1] == "loss/total"]
    assert losses[:6] == before
    assert [step for step, _, _ in losses] == list(range(1, 10))
    assert [(c.step, c.is_best) for c in result.checkpoints] == [(3, True), (6, False), (9, False)]  # of equal scores the earliest


def _fail_like_a_fault_of_the_program(folder: str, *, tries: str) -> tuple[str, float]:
    with open(tries, "a") as file:
        file.write("x")
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
def test_a_worker_s_cause_arrives_at_once_and_is_not_tried_again(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    validate = partial(_fail_like_a_fault_of_the_program, tries=str(tmp_path / "tries"))
    with pytest.raises(TrainingError, match=r"RuntimeError: mat1 and mat2 shapes cannot be multiplied .* not tried again") as caught:
        pretrain(micro, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=validate, num_workers=1)
    assert (tmp_path / "tries").read_text() == "x"
    assert str(tmp_path / "run" / "failure.txt") in str(caught.value)
    assert "_fail_like_a_fault_of_the_program" in (tmp_path / "run" / "failure.txt").read_text()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.usefixtures("local_ray")
def test_more_workers_than_ray_can_place_is_an_error_with_the_number(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 workers need as many GPUs and Ray has 0"):
        pretrain(micro, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=None, num_workers=1, use_gpu=True)


def _watched(folder: str, *, views: FixedViews, log: Path) -> tuple[str, float, dict[str, float]]:
    """Real scores; the first ones wait until training has gone on by a step. Fails at step 2."""
    name, metrics = Path(folder).parent.name, Path(folder).parents[2] / "metrics.jsonl"
    if name == "step_0000002":
        raise RuntimeError("the labels are gone")
    before = _newest(metrics)
    if not log.exists():
        log.write_text("begun")
        while _newest(metrics) == before:  # for ever, if training waits too: the test's timeout ends it
            time.sleep(0.05)
        log.write_text(json.dumps([before, _newest(metrics)]))
    return checkpoint_scores(folder, views=views)


def _hold_until_begun(done: int, total: int, values: dict[str, float], *, log: Path, metrics: Path) -> None:
    """Stop the training worker's process until the first validation has begun, which takes a process many seconds and training few."""
    if done < 3 or log.exists():  # step 3 follows on two reports, so that Ray Train has taken in the first and has started its task
        return
    children = psutil.Process().children(recursive=True)
    (worker,) = [child for child in children if any(file.path == str(metrics) for file in _ask(child.open_files))]
    worker.suspend()
    while not log.exists():
        time.sleep(0.05)
    worker.resume()


def _newest(metrics: Path) -> int:
    row = newest_row(metrics)
    return row[0] if row else 0


BESIDE_STEPS = 5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
def test_ray_scores_checkpoints_beside_training_as_inside_and_goes_on_when_one_fails(
    micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    checkpoint = dataclasses.replace(micro.checkpoint, every=1, keep_best=BESIDE_STEPS, validate="beside")
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=BESIDE_STEPS), checkpoint=checkpoint)
    views = FixedViews(dataset_dir=dataset_dir, augment=config.augment, image_size=config.model.img_size)
    log, run_dir = tmp_path / "log", tmp_path / "run"
    validate, hold = partial(_watched, views=views, log=log), partial(_hold_until_begun, log=log, metrics=run_dir / "metrics.jsonl")
    result = pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r", validate=validate, progress=hold)
    assert [found.step for found in result.checkpoints] == [step for step in range(1, BESIDE_STEPS + 1) if step != 2]
    scored = {step: value for step, name, value in read_metrics(result.metrics_path) if name == "validation/views/matching"}
    assert scored.keys() == {0, 1, *range(3, BESIDE_STEPS + 1)}
    for found in result.checkpoints:
        _, inside, _ = checkpoint_scores(found.path, views=views)
        assert (found.validation_score, scored[found.step]) == pytest.approx((inside, inside), abs=1e-6)
    assert next(found for found in result.checkpoints if found.is_best).validation_score == max(scored[step] for step in scored if step)
    before, after = json.loads(log.read_text())
    assert 3 <= before < after  # steps of training during one validation
    told = [sentence for sentence in notices_after(run_dir, 0)[0] if "no score" in sentence]
    assert len(told) == 1
    assert "step 2 has no score, because its validation failed (RuntimeError: the labels are gone)" in told[0]


def test_validation_beside_training_needs_ray(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(micro, checkpoint=dataclasses.replace(micro.checkpoint, validate="beside"))
    run = partial(pretrain, config, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=None, backend="local")
    with pytest.raises(ValueError, match=r"beside, which needs Ray; give --runner processes or ray, or checkpoint.validate=inside"):
        run()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_more_validation_cpus_than_ray_has_is_an_error_before_training(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(micro, checkpoint=dataclasses.replace(micro.checkpoint, validate="beside", validation_cpus=4096))
    with pytest.raises(ValueError, match="validation beside training needs 4096 CPUs besides 1 of the workers and Ray has"):
        pretrain(config, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=_fail_at_once)


def _fail_at_once(folder: str) -> tuple[str, float]:
    raise AssertionError("it was validated")


def test_the_local_backend_refuses_several_workers(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not 2; give num_workers 1 or the ray backend"):
        pretrain(micro, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r", validate=None, num_workers=2, backend="local")

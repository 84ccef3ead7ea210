import json
from pathlib import Path

from pretrain.metrics import MetricsLog, newest_row, read_metrics


def test_rows_are_read_back_and_the_newest_step_from_the_end_alone(tmp_path: Path) -> None:
    assert newest_row(tmp_path / "metrics.jsonl") is None
    log = MetricsLog(tmp_path, after_step=0)
    for step in range(1, 3000):  # longer than the part of the file that is read for the newest row
        log.write(step, {"loss/total": 1 / step, "speed/images_per_s": float("inf") if step == 2 else 5.0})
    log.write(3000, {"val/score": 0.5})  # a score alone is no new step
    log.close()
    rows = read_metrics(log.path)
    assert rows[:3] == [(1, "loss/total", 1.0), (1, "speed/images_per_s", 5.0), (2, "loss/total", 0.5)]
    assert len(rows) == 2 * 2999 - 1 + 1
    assert newest_row(log.path) == (2999, {"loss/total": 1 / 2999, "speed/images_per_s": 5.0})


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1, "name": "loss/total", "value": 2.0}) + "\n" + '{"step": 2, "name": "loss/to')
    assert read_metrics(path) == [(1, "loss/total", 2.0)]
    assert newest_row(path) == (1, {"loss/total": 2.0})


def test_a_value_that_is_not_finite_leaves_a_null_that_stays(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, after_step=0)
    log.write(1, {"loss/total": 8.0, "grad_norm/backbone": 1.0})
    log.write(2, {"loss/total": float("nan"), "grad_norm/backbone": float("inf"), "schedule/lr": 0.5})
    log.close()
    MetricsLog(tmp_path, after_step=2).close()  # a run that goes on writes the file again
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["step"], line["name"], line["value"]) for line in lines] == [
        (1, "loss/total", 8.0),
        (1, "grad_norm/backbone", 1.0),
        (2, "loss/total", None),
        (2, "grad_norm/backbone", None),
        (2, "schedule/lr", 0.5),
    ]
    assert read_metrics(log.path) == [(1, "loss/total", 8.0), (1, "grad_norm/backbone", 1.0), (2, "schedule/lr", 0.5)]
    assert newest_row(log.path) == (1, {"loss/total": 8.0, "grad_norm/backbone": 1.0})


def test_the_newest_row_has_the_last_validation_before_it(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, after_step=0)
    log.write(0, {"validation/score": 0.2, "validation/views/effective_rank": 30.0})
    log.write(5, {"loss/total": 4.0})
    log.write(5, {"validation/score": 0.25})
    log.write(6, {"loss/total": 3.0})
    assert newest_row(log.path) == (6, {"validation/score": 0.25, "validation/views/effective_rank": 30.0, "loss/total": 3.0})
    assert log.newest_validation() == {"validation/score": 0.25, "validation/views/effective_rank": 30.0}
    log.close()

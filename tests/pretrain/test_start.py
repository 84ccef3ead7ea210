from __future__ import annotations

import dataclasses
from pathlib import Path

from pretrain.checkpoint import step_dir
from pretrain.config import PretrainConfig
from pretrain.run_folder import check_run_dir
from pretrain.start import Start, drop_start, give_start, start_of_unfinished


def test_a_run_that_did_not_end_is_found_with_what_it_started_from(micro: PretrainConfig, tmp_path: Path) -> None:
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    (step_dir(first, 3) / "state").mkdir(parents=True)
    start = Start(run_dir=first, step=3, checkpoint_id="abc")
    give_start(second, start)
    assert start_of_unfinished(first, micro) is None  # killed before its settings were written
    check_run_dir(second, micro, dataset_id="d", run_id="second")
    assert start_of_unfinished(first, micro) == ("second", start)
    assert start_of_unfinished(second, micro) is None
    other_machine = dataclasses.replace(micro, train=dataclasses.replace(micro.train, log_every=3))
    assert start_of_unfinished(first, other_machine) == ("second", start)
    longer = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=99))
    assert start_of_unfinished(first, longer) is None
    (second / "result.json").write_text("{}")
    assert start_of_unfinished(first, micro) is None
    drop_start(second)
    assert [path.name for path in (second / "start").iterdir()] == ["source.json"]
    assert (step_dir(first, 3) / "state").is_dir()
    drop_start(second)

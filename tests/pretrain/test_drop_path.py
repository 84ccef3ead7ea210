from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from pretrain.config import PretrainConfig
from pretrain.drop_path import KeptInBlock, KeptRows, draw_kept_rows
from pretrain.model import Network


def test_a_branch_runs_on_its_rows_and_its_residual_makes_up_for_the_rest(micro: PretrainConfig) -> None:
    block: Any = Network(micro).backbone.blocks[0]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    block.ls2.gamma.data.zero_()  # leaves the first residual alone
    rows_seen: list[int] = []
    block.attn.register_forward_pre_hook(lambda _, args: rows_seen.append(len(args[0])))
    x = torch.randn(5, 3, 24)
    with torch.no_grad():
        whole = block(x) - x
        kept = KeptInBlock(
            torch.tensor([1, 4]), torch.tensor([-1, 0, -1, -1, 1]), torch.tensor([0]), torch.tensor([0, -1, -1, -1, -1]), 2.5
        )
        residual = block(x, kept=kept) - x
    assert rows_seen == [5, 2]
    assert torch.equal(residual.abs().amax(dim=(1, 2)) > 0, torch.tensor([False, True, False, False, True]))
    torch.testing.assert_close(residual[[1, 4]], whole[[1, 4]] * 2.5)


def _draw(own: slice, *, batch: int, rate: float = 0.4, views: int = 2, seed: int = 1) -> KeptRows:
    return draw_kept_rows(own, batch_size=batch, num_views=views, depth=3, rate=rate, rng=np.random.default_rng(seed))


def _kept(drawn: KeptRows) -> list[list[int]]:
    """Rows of each branch of each block."""
    return [rows.tolist() for number in range(3) for rows in (drawn.of_block(number).attention, drawn.of_block(number).mlp)]


def test_a_batch_keeps_the_reference_number_of_rows() -> None:
    # DINOv2 keeps int(rows * (1 - rate)) rows: 45 of 75, int(64 * .6) = 38 of 64, where one more makes up for what it cuts off
    assert {len(rows) for rows in _kept(_draw(slice(0, 25), batch=25, views=3))} == {45}
    assert {len(rows) for rows in _kept(_draw(slice(0, 32), batch=32))} <= {38, 39}
    assert _draw(slice(0, 32), batch=32).scale == pytest.approx(1 / 0.6)


@given(batch=st.integers(2, 40), views=st.integers(1, 8), rate=st.floats(0.01, 0.95), seed=st.integers(0, 1000), data=st.data())
def test_any_number_of_workers_keeps_together_what_one_keeps(batch: int, views: int, rate: float, seed: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, batch - 1))
    whole, first, second = (
        _kept(_draw(own, batch=batch, views=views, rate=rate, seed=seed)) for own in (slice(0, batch), slice(0, cut), slice(cut, batch))
    )
    for rows, left, right in zip(whole, first, second, strict=True):
        expected = {divmod(row, batch) for row in rows}
        found = {divmod(row, cut) for row in left} | {(row // (batch - cut), cut + row % (batch - cut)) for row in right}
        assert found == expected
        assert len(rows) == len(left) + len(right)
        assert abs(len(left) - cut * views * (1 - rate)) <= 1


def test_branches_and_seeds_draw_apart_and_every_row_is_kept_alike() -> None:
    drawn = [rows for seed in range(400) for rows in _kept(_draw(slice(0, 8), batch=8, seed=seed))]
    assert len(set(map(tuple, drawn[:6]))) == 6
    assert drawn[:6] != drawn[6:12]
    shares = np.bincount(np.concatenate([np.array(rows) for rows in drawn]), minlength=16) / len(drawn)
    assert np.abs(shares - 0.6).max() < 0.05  # five standard deviations over 2,400 draws

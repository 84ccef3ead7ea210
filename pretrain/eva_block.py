"""DINOv3's block (timm's Eva: rotary positions, LayerScale as a plain parameter) with residual branches on some of the rows."""

from __future__ import annotations

from timm.models.eva import Eva, EvaBlock
from torch import Tensor, nn

from pretrain.drop_path import KeptInBlock, residual_on

__all__ = ["StochasticDepthEvaBlock", "give_blocks"]


class StochasticDepthEvaBlock(EvaBlock):
    """timm's Eva block whose residual branches can run on some of the rows."""

    def forward(
        self,
        x: Tensor,
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        kept: KeptInBlock | None = None,
    ) -> Tensor:
        """Apply the block.

        Args:
            x: (rows, tokens, dim).
            rope: (patches, 2 * head dim), sines and cosines of the positions, the same for every row.
            attn_mask: as in timm.
            is_causal: as in timm.
            kept: rows of the attention and of the MLP branch; None runs both on all rows.

        Returns:
            (rows, tokens, dim).
        """

        def attend(rows: Tensor) -> Tensor:
            return _scaled(self.attn(self.norm1(rows), rope=rope, attn_mask=attn_mask, is_causal=is_causal), self.gamma_1)

        def transform(rows: Tensor) -> Tensor:
            return _scaled(self.mlp(self.norm2(rows)), self.gamma_2)

        if kept is None:
            x = x + attend(x).to(x.dtype)
            return x + transform(x).to(x.dtype)
        x = residual_on(x, kept.attention, kept.attention_places, kept.scale, attend)
        return residual_on(x, kept.mlp, kept.mlp_places, kept.scale, transform)


def _scaled(added: Tensor, gamma: nn.Parameter | None) -> Tensor:
    return added if gamma is None else gamma * added


def give_blocks(backbone: Eva) -> None:
    """Let the blocks of a built Eva skip rows: Eva takes no block class, and this one has nothing but another forward pass.

    Raises:
        ValueError: its blocks are not timm's pre-norm Eva blocks.
    """
    for block in backbone.blocks:
        if type(block) is not EvaBlock:
            raise ValueError(f"blocks of {type(block).__name__} cannot skip rows; name an Eva with pre-norm blocks, such as a DINOv3")
        block.__class__ = StochasticDepthEvaBlock

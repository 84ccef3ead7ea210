"""A vision transformer for clips whose blocks attend over time, then over space (Bertasius et al. 2021, divided attention).

Blocks are made of timm's parts. Patch tokens of a clip lie in the order (row, column, time), after the class token and the registers,
which the frames share. With the time embedding and every `temporal_fc` at zero, a clip of equal frames gives what the image network gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = [
    "INIT_STD",
    "BlockDrops",
    "DividedSpaceTimeViT",
    "SpaceTimeBlock",
    "SpaceTimeSizes",
    "SpaceTimeTokens",
    "nearest_indices",
    "resample_grid",
]

_EPS = 1e-6
INIT_STD = 0.02
"""of the linear layers of a fresh network, and of its tokens and positions"""

Resampling = Literal["nearest", "bicubic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceTimeSizes:
    """What a network is built from; all plain values, which an export's config.json holds."""

    embed_dim: int = 768
    """token width"""
    depth: int = 12
    """blocks"""
    num_heads: int = 12
    """attention heads, over time and over space"""
    mlp_ratio: float = 4.0
    """hidden width of the MLP over the token width"""
    patch_size: int = 16
    """side of a patch in pixels"""
    image_size: int = 224
    """side of the frames whose grid the position embedding has"""
    num_frames: int = 8
    """rows of the time embedding; clips of other lengths resample it"""
    num_registers: int = 0
    """register tokens, which go with the class token"""
    layer_scale: bool = False
    """whether the spatial and the MLP branch are scaled by a learned vector; the temporal branch ends in `temporal_fc`"""
    resampling: Resampling = "nearest"
    """of positions: nearest as Endo-FM does it, or bicubic with antialiasing, and linear in time"""

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}; give one")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; give one")
        if min(self.depth, self.num_frames) < 1 or self.num_registers < 0:
            raise ValueError(
                f"depth is {self.depth}, num_frames {self.num_frames}, num_registers {self.num_registers}; give at least 1, 1 and 0"
            )
        if self.resampling not in ("nearest", "bicubic"):
            raise ValueError(f"resampling is {self.resampling!r}; give nearest or bicubic")

    @property
    def grid(self) -> int:
        """Patches along a side of the position embedding."""
        return self.image_size // self.patch_size


class SpaceTimeTokens(NamedTuple):
    """What the network says of clips, after the final norm."""

    cls: Tensor
    """(clips, dim)"""
    patches: Tensor
    """(clips, frames, rows, columns, dim)"""


class BlockDrops(NamedTuple):
    """Stochastic depth of one block: a factor for each row, 0 where its branch is dropped and 1 over the share kept elsewhere."""

    time: Tensor
    """(clips, patches of a frame): time lines of the temporal branch, dropped before `temporal_fc`"""
    frames: Tensor
    """(clips, frames) of the spatial branch"""
    clips: Tensor
    """(clips,) of the MLP branch"""


class SpaceTimeBlock(nn.Module):
    """Attention over time of each patch's place, over space of each frame, then an MLP; pre-norm."""

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, layer_scale: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, num_heads=num_heads, qkv_bias=True)
        self.ls1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.temporal_norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.temporal_attn = Attention(dim, num_heads=num_heads, qkv_bias=True)
        self.temporal_fc = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))
        self.ls2 = LayerScale(dim) if layer_scale else nn.Identity()

    def forward(self, x: Tensor, num_frames: int, drops: BlockDrops | None = None, num_prefix: int = 1) -> Tensor:
        """Apply the block.

        Args:
            x: (clips, prefix + patches of a frame * frames, dim), patch tokens in the order (place, time).
            num_frames: of each clip.
            drops: rows whose branches are dropped; None drops none.
            num_prefix: the class token and registers.

        Returns:
            The same shape.
        """
        clips, _, dim = x.shape
        prefix, patches = x[:, :num_prefix], x[:, num_prefix:].reshape(-1, num_frames, dim)
        moved = self.temporal_attn(self.temporal_norm1(patches))
        if drops is not None:
            moved = moved * drops.time.reshape(-1, 1, 1).to(moved.dtype)
        patches = (patches + self.temporal_fc(moved)).view(clips, -1, num_frames, dim)

        shared = prefix.unsqueeze(1).expand(-1, num_frames, -1, -1)
        frames = torch.cat((shared, patches.transpose(1, 2)), dim=2).flatten(0, 1)
        seen = self.ls1(self.attn(self.norm1(frames)))
        if drops is not None:
            seen = seen * drops.frames.reshape(-1, 1, 1).to(seen.dtype)
        seen = seen.view(clips, num_frames, -1, dim)
        prefix = prefix + seen[:, :, :num_prefix].mean(1)
        patches = patches + seen[:, :, num_prefix:].transpose(1, 2)

        x = torch.cat((prefix, patches.flatten(1, 2)), dim=1)
        changed = self.ls2(self.mlp(self.norm2(x)))
        if drops is not None:
            changed = changed * drops.clips.view(-1, 1, 1).to(changed.dtype)
        out: Tensor = x + changed
        return out


class DividedSpaceTimeViT(nn.Module):
    """The video backbone: patches, positions in space and time, blocks of divided attention, final norm."""

    def __init__(self, sizes: SpaceTimeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        dim = sizes.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.reg_token = nn.Parameter(torch.zeros(1, sizes.num_registers, dim)) if sizes.num_registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + sizes.grid**2, dim))
        self.time_embed = nn.Parameter(torch.zeros(1, sizes.num_frames, dim))
        self.patch_embed = PatchEmbed(
            img_size=sizes.image_size, patch_size=sizes.patch_size, embed_dim=dim, flatten=False, strict_img_size=False
        )
        blocks = [
            SpaceTimeBlock(dim, sizes.num_heads, mlp_ratio=sizes.mlp_ratio, layer_scale=sizes.layer_scale) for _ in range(sizes.depth)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.init_weights()

    @property
    def embed_dim(self) -> int:
        """Token width."""
        return self.sizes.embed_dim

    @property
    def num_prefix_tokens(self) -> int:
        """The class token and the registers."""
        return 1 + self.sizes.num_registers

    def init_weights(self) -> None:
        """Truncated normals of deviation 0.02; zero for biases, the time embedding and `temporal_fc`, so that clips begin as images."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.pos_embed, self.reg_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=INIT_STD)
        nn.init.zeros_(self.time_embed)
        for block in self.blocks:
            assert isinstance(block, SpaceTimeBlock)
            nn.init.zeros_(block.temporal_fc.weight)

    def forward(
        self,
        clips: Tensor,
        *,
        masks: Tensor | None = None,
        mask_token: Tensor | None = None,
        drops: Sequence[BlockDrops] | None = None,
        recompute: bool = False,
        residual: torch.dtype | None = None,
    ) -> SpaceTimeTokens:
        """Class and patch tokens of clips.

        Args:
            clips: (clips, 3, frames, height, width) float, normalised; any number of frames, sides in whole patches.
            masks: (clips, frames, rows, columns) bool, true at patches whose embedding is replaced by `mask_token`.
            mask_token: (1, dim); None replaces nothing.
            drops: one a block; None drops no branch, in training mode too.
            recompute: recompute blocks in the backward pass instead of keeping activations.
            residual: of what blocks add to, up to the final norm; None leaves it as it is.
        """
        x, num_frames, rows, columns = self._embedded(clips, masks, mask_token)
        x = x if residual is None else x.to(residual)
        prefix = self.num_prefix_tokens
        for number, block in enumerate(self.blocks):
            dropped = None if drops is None else drops[number]
            if recompute:
                x = checkpoint(block, x, num_frames, dropped, prefix, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, num_frames, dropped, prefix)
        x = self.norm(x)
        patches = x[:, prefix:].reshape(len(x), rows, columns, num_frames, -1).permute(0, 3, 1, 2, 4)
        return SpaceTimeTokens(x[:, 0], patches)

    def _embedded(self, clips: Tensor, masks: Tensor | None, mask_token: Tensor | None) -> tuple[Tensor, int, int, int]:
        """Tokens before the first block, (clips, prefix + places * frames, dim), with frames, rows and columns of patches."""
        if clips.ndim != 5 or clips.shape[1] != 3:
            raise ValueError(f"clips have the shape {tuple(clips.shape)}; give (clips, 3, frames, height, width)")
        size, (height, width) = self.sizes.patch_size, clips.shape[3:]
        if height % size or width % size:
            raise ValueError(f"frames are {height}x{width} pixels, no multiple of patch_size {size}; resize or crop them to one")
        num_frames = clips.shape[2]
        x = self.patch_embed(clips.transpose(1, 2).flatten(0, 1))  # (clips * frames, dim, rows, columns)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2).reshape(len(clips), num_frames, rows * columns, -1)
        if masks is not None and mask_token is not None:
            x = torch.where(masks.flatten(2).unsqueeze(-1), mask_token.to(x.dtype), x)
        space = resample_grid(self.pos_embed[:, 1:], self.sizes.grid, (rows, columns), self.sizes.resampling)
        time = _resample_time(self.time_embed, num_frames, self.sizes.resampling)
        x = x + space.unsqueeze(1) + time.unsqueeze(2)
        prefix = [(self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)]
        if self.reg_token is not None:
            prefix.append(self.reg_token.expand(len(x), -1, -1))
        return torch.cat((*prefix, x.transpose(1, 2).flatten(1, 2)), dim=1), num_frames, rows, columns


def nearest_indices(num_in: int, num_out: int) -> list[int]:
    """Which of `num_in` rows each of `num_out` takes: floor(i * num_in / num_out)."""
    return [index * num_in // num_out for index in range(num_out)]


def resample_grid(positions: Tensor, side: int, grid: tuple[int, int], how: Resampling) -> Tensor:
    """Positions of a square grid at another grid.

    Args:
        positions: (1, side * side, dim).
        side: of their grid.
        grid: rows and columns wanted.
        how: nearest, or bicubic with antialiasing.

    Returns:
        (1, rows * columns, dim).
    """
    if grid == (side, side):
        return positions
    square = positions.view(1, side, side, -1)
    if how == "nearest":
        rows, columns = (torch.tensor(nearest_indices(side, wanted), device=positions.device) for wanted in grid)
        return square.index_select(1, rows).index_select(2, columns).flatten(1, 2)
    resized = F.interpolate(square.permute(0, 3, 1, 2).float(), size=grid, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)


def _resample_time(times: Tensor, num_frames: int, how: Resampling) -> Tensor:
    """(1, rows, dim) of the time embedding for a number of frames, (1, frames, dim)."""
    if times.shape[1] == num_frames:
        return times
    if how == "nearest":
        return times.index_select(1, torch.tensor(nearest_indices(times.shape[1], num_frames), device=times.device))
    return F.interpolate(times.transpose(1, 2).float(), size=num_frames, mode="linear").transpose(1, 2).to(times.dtype)

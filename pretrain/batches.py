"""The batches of a run: of images, or of clips for a recipe on video."""

from __future__ import annotations

from pretrain.config import PretrainConfig
from pretrain.data import StepBatches
from pretrain.reader import ShardReader
from pretrain.video.batches import ClipBatches

__all__ = ["RunBatches", "check_kind", "open_batches"]

RunBatches = StepBatches | ClipBatches


def open_batches(reader: ShardReader, config: PretrainConfig, *, rank: int, world_size: int, decode_only: bool = False) -> RunBatches:
    """The batches of one worker; arguments are those of `StepBatches`, and `decode_only` is for images alone.

    Raises:
        ValueError: the dataset is not of what the recipe trains on, or cannot be dealt out so.
    """
    check_kind(reader.kind, config, where=str(reader.dataset_dir))
    if config.video is not None:
        return ClipBatches(reader, config, rank=rank, world_size=world_size)
    return StepBatches(reader, config, rank=rank, world_size=world_size, decode_only=decode_only)


def check_kind(kind: str, config: PretrainConfig, *, where: str) -> None:
    """See that a dataset is of what the recipe trains on.

    Args:
        kind: images or clips, as `dataset.json` says; images where it says nothing.
        config: of the run.
        where: the dataset, for the message.

    Raises:
        ValueError: it has images and the recipe takes clips, or the reverse.
    """
    wanted = "images" if config.video is None else "clips"
    if kind != wanted:
        remedy = (
            "give a recipe on images, such as small, or a dataset of clips"
            if wanted == "clips"
            else "give a recipe on clips, such as endofm-clean, or a dataset of images"
        )
        raise ValueError(f"{where} holds {kind}, and this recipe trains on {wanted}; {remedy}")

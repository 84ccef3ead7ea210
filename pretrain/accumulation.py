"""Which batches cannot be cut into micro-batches. Free of PyTorch, so that commands can ask before they begin."""

from __future__ import annotations

from pretrain.config import PretrainConfig

__all__ = ["check_accumulation"]


def check_accumulation(config: PretrainConfig, world_size: int) -> None:
    """See that accumulation gives the step of one big batch.

    Raises:
        ValueError: the batch cannot be cut so, or KoLeo's neighbours would lie in different micro-batches.
    """
    batch_size, accumulate, loss = config.train.batch_size, config.train.accumulate, config.loss
    if accumulate == 1:
        return
    if batch_size % (world_size * accumulate):
        raise ValueError(
            f"batch_size {batch_size} cannot be cut into {accumulate} micro-batches on each of {world_size} workers; "
            f"give a train.accumulate that divides {batch_size // world_size}"
        )
    images = batch_size // (world_size * accumulate)
    if loss.koleo_weight and (loss.koleo_over != "group" or images % loss.koleo_group):
        asked = f"groups of {loss.koleo_group}" if loss.koleo_over == "group" else f"koleo_over={loss.koleo_over!r}"
        raise ValueError(
            f"KoLeo would miss neighbours: train.accumulate {accumulate} on {world_size} workers makes micro-batches of {images} images, "
            f"which cannot hold {asked}; give a lower train.accumulate, or loss.koleo_over group with a koleo_group that divides {images}"
        )

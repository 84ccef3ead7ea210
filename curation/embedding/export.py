"""An encoder as a folder that timm loads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import safetensors.torch

from curation.embedding.config import EmbedConfig
from curation.embedding.encoder import id_of, published
from warehouse.store import atomic_file, write_json

__all__ = ["export_encoder"]


def export_encoder(config: EmbedConfig, folder: Path) -> str:
    """Write the encoder as a folder for `timm.create_model("local-dir:<folder>", pretrained=True, num_classes=0)`.

    Writes model.safetensors and, last, config.json with the preprocessing, so that an evaluation can score the encoder as a baseline.

    Returns:
        The encoder's id; loading the folder as an encoder gives the same one.

    Raises:
        ValueError: timm cannot build the encoder, or it cannot be loaded (see `load_encoder`).
    """
    source, module = published(config.encoder, config.image_size, allow_download=config.allow_download)
    if not source.is_timm:
        raise ValueError(f"encoder {source.name!r} cannot be exported, for timm cannot build {source.architecture}; export a timm model")
    encoder_id = id_of(source, module)
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    with atomic_file(folder / "model.safetensors") as file:
        file.write(safetensors.torch.save(tensors))
    size = source.preprocessing.image_size
    write_json(
        folder / "config.json",
        {
            "architecture": source.architecture,
            "num_classes": 0,
            "num_features": int(module.num_features),
            "pretrained_cfg": {
                "architecture": source.architecture,
                "num_classes": 0,
                "input_size": (3, size, size),
                "fixed_input_size": bool(module.pretrained_cfg.get("fixed_input_size", False)),
                **{key: value for key, value in asdict(source.preprocessing).items() if key != "image_size"},
            },
            "encoder_id": encoder_id,
        },
    )
    return encoder_id

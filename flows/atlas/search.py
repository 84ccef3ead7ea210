"""Search by a picture that someone gives: its vector by the map's encoder, and the points nearest to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flows.atlas.nearest import nearest_rows
from flows.atlas.points import Atlas
from warehouse import queries
from warehouse.lake import Lake

if TYPE_CHECKING:
    from curation.embedding import Encoder

__all__ = ["Searcher"]


class Searcher:
    """Loads the encoder when the first picture comes; a picture is neither kept nor logged."""

    def __init__(self, lake: Lake, atlas: Atlas) -> None:
        self._lake, self._atlas = lake, atlas
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()

    def near(self, picture: bytes, lock: threading.Lock) -> dict[str, Any]:
        """Points and cosines, the nearest first, or an error in words.

        Args:
            picture: JPEG, PNG or another image.
            lock: of the lake.
        """
        from curation.embedding import embed_images

        try:
            with self._loading:
                encoder = self._encoder = self._encoder or self._loaded(lock)
        except (OSError, ValueError) as error:
            return {"error": str(error)}
        try:
            vector = embed_images(iter([picture]), encoder, batch_size=1)[0]
        except (OSError, ValueError):
            return {"error": "this is no picture that can be read; give a JPEG or PNG"}
        return {"near": nearest_rows(self._atlas.vectors, vector)}

    def _loaded(self, lock: threading.Lock) -> Encoder:
        from curation.embedding import EmbedConfig, load_encoder

        with lock:
            config = EmbedConfig(encoder=queries.encoder_label(self._lake, self._atlas.encoder_id), device="cpu")
        encoder = load_encoder(config)
        if encoder.encoder_id != self._atlas.encoder_id:
            raise ValueError(f"the lake was embedded by another {config.encoder!r} than is here, so pictures cannot be searched by")
        return encoder

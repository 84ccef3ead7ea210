"""The points of an atlas as a script that a page loads, also from a folder without any server."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows.atlas.points import Atlas
from flows.atlas.prediction import Prediction

__all__ = ["as_script"]


def as_script(atlas: Atlas) -> bytes:
    """`const ATLAS = {...}`: text as JSON, numbers as Base64 of little-endian arrays, in which a million points are parsed quickly.

    Positions are whole numbers up to 65535 (uint16), seconds are float32. A colouring is its words, the commonest first, and a number into
    them for each point (uint32). Probabilities of predictions are whole numbers up to 255 (uint8);
    what a dataset holds is one bit for each point.
    """
    maps = [atlas.positions] if atlas.beside is None else [atlas.positions, atlas.beside.positions]
    told: dict[str, Any] = {
        "maps": [[_packed(axis, "<u2") for axis in np.rint(positions.T * 65535)] for positions in maps],
        "encoders": [atlas.encoder] if atlas.beside is None else [atlas.encoder, atlas.beside.name],
        "id": atlas.frame_ids,
        "second": _packed(np.asarray(atlas.seconds), "<f4"),
        "colours": {name: _coded(words) for name, words in atlas.colours.items()},
        "members": [{"name": name, "bits": _packed(np.packbits(held, bitorder="little"), "<u1")} for name, held in atlas.members.items()],
        "predictions": {each.colour: _predicted(each) for each in atlas.predictions},
        "notes": atlas.notes,
        "funnel": atlas.funnel,
        "sql": atlas.has_sql,
    }
    return b"const ATLAS = " + json.dumps(told, separators=(",", ":")).encode() + b";\n"


def _predicted(prediction: Prediction) -> dict[str, Any]:
    said = {"score": prediction.head.score_id, "probability": _packed(np.rint(prediction.probabilities * 255), "<u1")}
    words = set(prediction.words)
    return said if len(words) > 1 else {**said, "only": words.pop()}  # then it is no colour


def _packed(numbers: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(numbers.astype(kind).tobytes()).decode()


def _coded(words: Sequence[str]) -> dict[str, Any]:
    coded = pa.array(words, pa.string()).dictionary_encode()
    names, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda place: (-counts[place], names[place]))
    return {
        "names": [names[place] for place in order],
        "counts": counts[order].tolist(),
        "codes": _packed(np.argsort(order)[codes], "<u4"),
    }

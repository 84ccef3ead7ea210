"""Small commits to a lake, for tests of who may write when; imports little, because processes of their own use it."""

from __future__ import annotations

import pyarrow as pa

from warehouse.lake import Lake
from warehouse.schema import TABLES


def add_reject(lake: Lake, uri: str) -> None:
    row: dict[str, object] = dict.fromkeys(TABLES["rejects"].names) | {"uri": uri, "reason": "empty"}
    with lake.transaction():
        lake.append("rejects", pa.Table.from_pylist([row], schema=TABLES["rejects"]))

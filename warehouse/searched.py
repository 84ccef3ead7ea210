"""Whether a text is in a file of a lake: in its bytes, or in a value of a Parquet file, which may be compressed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.table_store import fetch, table_files

__all__ = ["searched", "searched_tables"]


def searched(root: Path, needles: Sequence[str]) -> Iterator[Path]:
    """Files below a lake in which one of some texts is found: in their bytes, or in a value of a Parquet file."""
    texts = [needle.encode() for needle in needles]
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        if path.relative_to(root).parts[0] == "forgotten":
            continue
        try:
            found = any(needle in str(path.relative_to(root)) for needle in needles)
            if not found and path.suffix == ".parquet":
                found = _in_parquet(path, needles)
            found = found or _in_bytes(path, texts)
        except FileNotFoundError:  # a temporary file of another process
            continue
        if found:
            yield path


def searched_tables(data_path: str, needles: Sequence[str]) -> Iterator[str]:
    """URIs of the files of tables in a store in which one of some texts is found, as by `searched`.

    Raises:
        OSError: the store cannot be reached.
    """
    texts = [needle.encode() for needle in needles]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "table.parquet")
        for name in sorted(table_files(data_path)):
            with contextlib.suppress(FileNotFoundError):  # merged by another process since
                fetch(data_path, name, path)
                if _in_parquet(path, needles) or _in_bytes(path, texts):
                    yield f"{data_path}{name}"


def _in_parquet(path: Path, needles: Sequence[str]) -> bool:
    """Whether a text is in a value; of a damaged file its bytes alone are searched."""
    try:
        file = pq.ParquetFile(path)
        names = [field.name for field in file.schema_arrow if not _is_number(field.type)]
        for batch in file.iter_batches(columns=names):
            for column in batch.columns:
                if any(value is not None and any(needle in _text(value) for needle in needles) for value in column.to_pylist()):
                    return True
    except pa.ArrowInvalid:
        return False
    return False


def _is_number(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_primitive(kind))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _in_bytes(path: Path, texts: Sequence[bytes]) -> bool:
    overlap = max((len(text) for text in texts), default=1)
    tail = b""
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            window = tail + block
            if any(text in window for text in texts):
                return True
            tail = window[-overlap:]
    return False

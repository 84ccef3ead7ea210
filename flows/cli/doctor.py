"""What this machine has, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.cli.remedies import INSTALL_REMEDY
from flows.runners import Failure, Runner
from warehouse import plug_ins
from warehouse.lake import EXTENSIONS, LakeError, extension_path, open_lake
from warehouse.private_files import UMASK, file_mask

__all__ = ["Finding", "examine"]

LIBRARIES = (
    "torch",
    "timm",
    "ray",
    "prefect",
    "faiss-cpu",
    "faiss-gpu",
    "duckdb",
    "pyarrow",
    "decord",
    "av",
    "opencv-python-headless",
    "onnxruntime",
    "rapidocr",
    "webdataset",
)
LEAST_FREE_GIB = 5.0
RUNNER_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination."""

    topic: str
    found: str
    problem: str | None = None
    """what is wrong and what to do; None where nothing is"""


def examine(lake: Path | None, runner: Runner) -> Iterator[Finding]:
    """Look at everything a run needs; a lake is looked at too where one is given."""
    yield Finding(
        topic="endoforge", found=f"{importlib.metadata.version('endoforge')}, Python {platform.python_version()}, {sys.executable}"
    )
    yield Finding(topic="machine", found=f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    yield from _libraries()
    is_whole = importlib.util.find_spec("av") and importlib.util.find_spec("torch")  # else it is for questions to a lake alone
    if is_whole:
        yield from _decoders()
        yield _text()
        yield from _plug_ins()
    yield _runner(runner)
    if is_whole:
        yield from _devices()
    yield from _extensions()
    yield _disk(lake)
    yield _home()
    yield _temporary()
    if lake is not None:
        yield _lake(lake)
        yield _private(lake)
        yield _openness(lake)


def _libraries() -> Iterator[Finding]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    yield Finding(topic="libraries", found=", ".join(f"{name} {version}" for name, version in versions.items()))
    if {"faiss-cpu", "faiss-gpu"} <= versions.keys():
        yield Finding(
            topic="faiss",
            found="faiss-cpu and faiss-gpu",
            problem="both install the same module and break each other: pip uninstall both, then install one",
        )
    optional = {"faiss-cpu", "faiss-gpu"} | (set() if platform.machine() == "x86_64" else {"decord"})  # decord has wheels for x86-64 alone
    missing = [name for name in LIBRARIES if name not in versions and name not in optional]
    if missing:
        remedy = f"`sql`, `lineage`, `datasets` and `diff` work; for the rest {INSTALL_REMEDY}"
        yield Finding(topic="libraries", found=f"not {', '.join(missing)}", problem=remedy)


def _decoders() -> Iterator[Finding]:
    from curation.video import check_decoders

    for check in check_decoders():
        found = f"{check.decoder} {check.version} decodes {', '.join(check.codecs) or 'nothing'}"
        problem = "; ".join(check.problems)
        yield Finding(topic="decoder", found=found, problem=f"{problem}: run `make install` again" if problem else None)


def _text() -> Finding:
    from curation.privacy import TextCheckFailed, load_text_detector, load_text_reader, text_detector_path

    try:
        load_text_detector()
        load_text_reader()
    except TextCheckFailed as failure:
        return Finding(topic="text", found="burned-in text cannot be looked for", problem=str(failure))
    return Finding(topic="text", found=f"burned-in text is looked for with {text_detector_path().name}")


def _plug_ins() -> Iterator[Finding]:
    """What other packages add; of encoders the record alone, for weights take long to load."""
    from curation.embedding import ENCODERS
    from curation.filters import FILTERS
    from evaluation.tasks import TASKS

    groups: tuple[plug_ins.Group[Any], ...] = (FILTERS, ENCODERS, TASKS)
    for group in groups:
        yield from (Finding(topic="plug-in", found=title, problem=problem) for title, problem in plug_ins.examine(group))


def _runner(runner: Runner) -> Finding:
    """Whether the runner starts workers and hears from them."""
    (result,) = runner.map(abs, [-1], timeout_s=RUNNER_TIMEOUT_S)
    if isinstance(result, Failure):
        return Finding(topic="runner", found=f"{runner.name} does not work: {result.detail}", problem="use another --runner")
    return Finding(topic="runner", found=f"{runner.name} works")


def _devices() -> Iterator[Finding]:
    import torch

    yield _faiss()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding(topic="torch", found=f"CUDA {torch.version.cuda}: {', '.join(names)}")
    else:
        yield Finding(topic="torch", found=f"CPU, {torch.get_num_threads()} threads; training is fp32 and slow: recipe demo only")


def _faiss() -> Finding:
    try:
        from curation.clustering import num_faiss_gpus
    except ImportError as error:
        return Finding(topic="faiss", found=f"does not load ({error})", problem=INSTALL_REMEDY)
    num_gpus = num_faiss_gpus()
    return Finding(topic="faiss", found=f"GPU, {num_gpus} devices" if num_gpus else "CPU")


def _home() -> Finding:
    """The home folder, which no command needs; Prefect's own server keeps its data there."""
    home = os.path.expanduser("~")
    if os.access(home, os.W_OK | os.X_OK):
        return Finding(topic="home", found=f"{home} can be written to")
    return Finding(topic="home", found=f"{home} cannot be written to; only `prefect server start` needs it, or a PREFECT_HOME")


def _temporary() -> Finding:
    """The folder for temporary files, where Ray keeps its sockets."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            return Finding(topic="temporary", found=f"files in {Path(file.name).parent}")
    except OSError as error:
        return Finding(topic="temporary", found=f"no folder for temporary files ({error})", problem="set TMPDIR to one with free space")


def _extensions() -> Iterator[Finding]:
    for name in EXTENSIONS:
        try:
            yield Finding(topic="duckdb", found=f"{name} at {extension_path(name)}")
        except LakeError as error:
            yield Finding(topic="duckdb", found=f"no {name}", problem=str(error))


def _disk(lake: Path | None) -> Finding:
    folder = (lake or Path.cwd()).absolute()
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    problem = None if free_gib >= LEAST_FREE_GIB else f"less than {LEAST_FREE_GIB:g} GiB: free some, or put the lake elsewhere"
    return Finding(topic="disk", found=f"{free_gib:.1f} GiB free at {folder}", problem=problem)


def _lake(lake: Path) -> Finding:
    try:
        with open_lake(lake, read_only=True) as opened:
            runs = opened.rows("FROM run_counts")
    except LakeError as error:
        return Finding(topic="lake", found="does not open", problem=str(error))
    return Finding(topic="lake", found=", ".join(f"{row['num_runs']} {row['stage']} {row['status']}" for row in runs) or "empty")


def _private(lake: Path) -> Finding:
    """How much is withheld, and whether others than its owner may read it."""
    files = [*lake.glob("frames/*/*/*.private.tar"), *lake.glob("audits/*/private.html")]
    sizes = [path.stat() for path in files]
    found = f"{len(files)} private packs and pages, {sum(size.st_size for size in sizes) / 1e6:.1f} MB"
    if is_open := [path for path, size in zip(files, sizes, strict=True) if size.st_mode & 0o077]:
        problem = f"{len(is_open)} of them can be read by others, such as {is_open[0]}: chmod 600 them"
        return Finding(topic="private", found=found, problem=problem)
    return Finding(topic="private", found=found)


def _openness(lake: Path) -> Finding:
    """Whether others may look at files of the lake, as at those of one that an earlier release made."""
    mask = file_mask()
    if not lake.is_dir() or not lake.stat().st_mode & mask:  # who may not enter the folder reaches nothing in it
        return Finding(topic="access", found=f"files of the lake are open as {UMASK} {mask:03o} has them")
    paths = [path for path in (lake, *lake.rglob("*")) if not path.is_symlink()]
    is_open = [path for path in paths if path.stat().st_mode & mask]
    found = f"{len(is_open)} of {len(paths)} files and folders of the lake are open to other users"
    taken = ",".join(f"{who}-{bits}" for who, shift in (("g", 3), ("o", 0)) if (bits := _letters(mask >> shift)))
    return Finding(topic="access", found=found, problem=f"chmod -R {taken} {shlex.quote(str(lake))}, or set {UMASK} to whom it is open")


def _letters(bits: int) -> str:
    """Permissions as chmod has them."""
    return "".join(letter for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if bits & bit)

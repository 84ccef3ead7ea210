"""Progress of long work: a bar on a terminal, plain lines in a log; both with items per second and the time left."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from flows.tally import current_tally

if TYPE_CHECKING:  # rich takes a tenth of the time of a refusal, which shows no bar
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["say", "say_undone", "told_to", "track", "track_steps"]

Item = TypeVar("Item")
_LOG_EVERY_S = 10.0
_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


@functools.cache
def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _bar() -> Progress:
    """A bar with items done, items per second, and the time gone and left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f}/s")

    described = TextColumn("{task.description}")
    columns = (described, BarColumn(), MofNCompleteColumn(), Rate(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=_console())


def say(message: str) -> None:
    """One line for the person who watches; on stderr, so that results on stdout stay clean."""
    listener = _listener.get()
    if listener is None:
        _console().print(message, markup=False, soft_wrap=True)
    else:
        listener(message)


def say_undone(message: str) -> None:
    """Say what was asked for and not done; it stands in the command's summary too."""
    current_tally().not_done.append(message)
    say(message)


@contextmanager
def told_to(listener: Callable[[str], object]) -> Iterator[None]:
    """Give what is said inside to a listener, such as a logger of Prefect's, in place of stderr."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def track(items: Iterable[Item], *, description: str, total: int, size: Callable[[Item], int] | None = None) -> Iterator[Item]:
    """Yield the items while showing how many of `total` are done; an item counts as `size(item)`, or as one."""
    if total == 0:
        yield from items
    elif sys.stderr.isatty():
        with _bar() as progress:
            task = progress.add_task(description, total=total)
            for item in items:
                yield item
                progress.advance(task, size(item) if size else 1)
    else:
        yield from _logged(items, description, total, size)


def _logged(items: Iterable[Item], description: str, total: int, size: Callable[[Item], int] | None) -> Iterator[Item]:
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += size(item) if size else 1
        now = time.monotonic()
        if now - last >= _LOG_EVERY_S or done == total:
            last = now
            rate = done / max(1e-9, now - started)
            say(f"{description}: {done}/{total}, {rate:.1f}/s, {(total - done) / max(1e-9, rate):.0f} s left")


@contextmanager
def track_steps(description: str, *, item: str = "image") -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Yield a function to call with steps done, steps in all and the newest metrics; `item` is what a step has some of, image or clip."""
    started = time.monotonic()
    first: int | None = None
    last = started - _LOG_EVERY_S

    def report(done: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal first, last
        now = time.monotonic()
        first = done if first is None else first
        if now - last < _LOG_EVERY_S and done < total:
            return
        last = now
        left = f", {(total - done) * (now - started) / (done - first):.0f} s left" if done > first else ""
        say(f"{description}: step {done}/{total}{shown_metrics(metrics, item=item)}{left}")

    yield report


def shown_metrics(metrics: Mapping[str, float], *, item: str = "image") -> str:
    """The metrics of a training step that tell how it goes, in a line; those that are missing, and the loss of no patches, are left out."""
    dino = [metrics[name] for name in ("loss/dino_global", "loss/dino_local") if name in metrics]
    values = {**metrics, **({"dino": sum(dino)} if dino else {})}
    parts = (
        ("loss/total", "loss {:.3f}"),
        ("dino", "dino {:.3f}"),
        ("loss/ibot", "ibot {:.3f}"),
        ("loss/koleo", "koleo {:.2f}"),
        ("teacher/entropy", "entropy {:.2f}"),
        ("grad_norm/backbone", "gradient {:.2g}"),
        ("speed/images_per_s", f"{{:.1f}} {item}s/s"),
        ("speed/mfu", "{:.0%} MFU"),
        ("speed/data_wait_share", "{:.0%} waiting for data"),
        ("validation/score", "validated {:.3f}"),
        ("validation/views/effective_rank", "rank {:.1f}"),
    )
    return "".join(f", {text.format(values[name])}" for name, text in parts if name in values and (name != "loss/ibot" or values[name]))

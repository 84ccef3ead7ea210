"""Records that other packages add by entry points: filters of frames, encoders and evaluation tasks.

An entry point is loaded only if its group is needed, so that a broken package stops no other command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

__all__ = ["Group", "PlugInError", "examine", "load_all", "load_named", "names", "points", "unusable"]

Record = TypeVar("Record")


class PlugInError(ValueError):
    """A record of another package cannot be used; the message names it, its package and the cause, and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Generic[Record]):
    """One kind of record."""

    name: str
    """of the group of entry points"""
    kind: str
    """what a person calls such a record"""
    record: type[Record]
    fault: Callable[[str, Record, Sequence[Record]], str | None]
    """what makes a record unusable, from the name of its entry point, itself and those loaded before; the message goes on with it"""

    def title(self, point: EntryPoint) -> str:
        """Such as: the filter 'colorfulness' of endoforge-filter-example (colorfulness_filter:COLORFULNESS)."""
        return f"the {self.kind} {point.name!r} of {point.dist.name if point.dist else 'an installed package'} ({point.value})"


def unusable(what_failed: str, error: BaseException) -> PlugInError:
    """The error for code of another package that raised `error`; `what_failed` begins its sentence."""
    return PlugInError(f"{what_failed} ({type(error).__name__}: {' '.join(str(error).split())}); repair or uninstall its package")


def points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, by name; nothing is loaded."""
    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, point.value)))


def names(group: str) -> tuple[str, ...]:
    """The names of a group's entry points."""
    return tuple(dict.fromkeys(point.name for point in points(group)))


def load_all(group: Group[Record]) -> tuple[tuple[str, Record], ...]:
    """Every record of a group with its title.

    Raises:
        PlugInError: one cannot be used.
    """
    found: list[tuple[str, Record]] = []
    for point in points(group.name):
        found.append((group.title(point), _loaded(group, point, [record for _, record in found])))
    return tuple(found)


def load_named(group: Group[Record], name: str) -> tuple[str, Record] | None:
    """The record of one name with its title; None if no package has it. Others are not loaded.

    Raises:
        PlugInError: it cannot be used, or two packages have it.
    """
    found = [point for point in points(group.name) if point.name == name]
    if not found:
        return None
    if len(found) > 1:
        raise PlugInError(f"{' and '.join(map(group.title, found))} have one name; uninstall one of their packages")
    return group.title(found[0]), _loaded(group, found[0], [])


def examine(group: Group[Record]) -> Iterator[tuple[str, str | None]]:
    """The title of every record of a group, and what is wrong with it."""
    found: list[Record] = []
    for point in points(group.name):
        try:
            found.append(_loaded(group, point, found))
            problem = None
        except PlugInError as error:
            problem = str(error)
        yield group.title(point), problem


def _loaded(group: Group[Record], point: EntryPoint, others: Sequence[Record]) -> Record:
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:  # whatever a package of someone else does when it is imported
        raise unusable(f"{group.title(point)} cannot be loaded", error) from error
    if not isinstance(loaded, group.record):
        wanted = f"{group.record.__module__.rpartition('.')[0]}.{group.record.__name__}"
        article = "an" if wanted[0] in "aeiou" else "a"
        raise PlugInError(f"{group.title(point)} is {type(loaded).__name__}; name {article} {wanted} in its entry point")
    if fault := group.fault(point.name, loaded, others):
        raise PlugInError(f"{group.title(point)} {fault}")
    return loaded

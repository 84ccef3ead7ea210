"""Names of classes as people write them: one spelling each, and none that a spreadsheet or a labelling tool takes for something else."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ["UNUSABLE", "check_class_name", "check_classes", "one_spelling", "tidy"]

UNUSABLE = "-"
"""the label of a frame that cannot be labelled; it is not offered again"""

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of pairs, and what breaks a line
_FORMULA = re.compile(r"[=+@]|-(?!\d+(\.\d+)?$)")


def tidy(label: str) -> str:
    """A label in Unicode's composed form, without spaces around it."""
    return unicodedata.normalize("NFC", label).strip()


def check_class_name(label: str, where: str) -> None:
    """Refuse a name that no table can hold as text.

    Args:
        label: the name, tidy.
        where: it stands, for the message.

    Raises:
        ValueError: it has a control character, or a spreadsheet would run it as a formula.
    """
    if any(unicodedata.category(character) in _UNPRINTABLE for character in label):
        raise ValueError(f"{where} has the label {label!r}, which has a control character; write it without")
    if _FORMULA.match(unicodedata.normalize("NFKC", label)):
        raise ValueError(
            f"{where} has the label {label!r}, which a spreadsheet runs as a formula; give it another first character than {label[0]}"
        )


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes for labelling tools, tidy.

    Raises:
        ValueError: a name is empty, stands for frames that cannot be labelled, is given twice, or is refused by `check_class_name`.
    """
    names = tuple(map(tidy, classes))
    for name in names:
        if name in ("", UNUSABLE):
            raise ValueError(f"--classes has {name!r}; give names, and leave {UNUSABLE} out, for it stands for what cannot be labelled")
        check_class_name(name, "--classes")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"--classes {' '.join(names)} names a class twice; capital letters tell no classes apart, so give each once")
    return names


def one_spelling(labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Labels by frame with the commonest spelling of each, as evaluation reads them, and what was written otherwise.

    Args:
        labels: tidy, by frame. They are the same class if they differ in case alone, or as 1 and 1.0 do where all are whole numbers.

    Returns:
        The labels by frame, and the spelling that was chosen by the one that was not.
    """
    are_whole = all(re.fullmatch(r"[-+]?\d{1,9}(\.0+)?", label) for label in labels.values())
    plain = {label: str(int(float(label))) if are_whole else label for label in labels.values()}
    counts: dict[str, Counter[str]] = {}
    for label in labels.values():
        counts.setdefault(plain[label].casefold(), Counter())[plain[label]] += 1
    chosen = {key: min(found, key=lambda name: (-found[name], name)) for key, found in counts.items()}
    names = {label: chosen[plain[label].casefold()] for label in plain}
    return {frame_id: names[label] for frame_id, label in labels.items()}, {a: b for a, b in sorted(names.items()) if a != b}

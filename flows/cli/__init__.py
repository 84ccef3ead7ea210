"""The command line: one function a command, its arguments checked before work begins.

Start with `cli.py`, which parses and dispatches. `commands.py` and `questions.py` hold the options of the commands that work and of those
that only ask; `actions.py` and `answers.py` hold what they do.
"""

from __future__ import annotations

import sys
from types import TracebackType

INTERRUPTED = "endoforge: interrupted; the same command goes on from here"
"""The sentence on Ctrl-C, wherever it comes."""


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say a sentence on Ctrl-C while modules are still imported, before `main` can catch it; any other error has its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_interrupted

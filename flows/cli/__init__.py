"""The command line: one function a command, its arguments checked before work begins.

Start with `cli.py`, which parses and dispatches. `commands.py` and `questions.py` hold the options of the commands that work and of those
that only ask; `actions.py` and `answers.py` hold what they do.
"""

from flows.cli.interruption import take_interrupts

take_interrupts()  # before the imports of `cli.py`, which take a second

"""The command line: one function a command, its arguments checked before work begins.

Start with `cli.py`, which lists the commands; `commands.py` holds them.
"""

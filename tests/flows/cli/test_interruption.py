"""Ctrl-C before, during and after the work of a command, in a process of its own; `tests/flows/test_interrupt.py` has that of a run."""

import signal
import subprocess
import sys

import pytest

SENTENCE = "endoforge: interrupted; the same command goes on from here\n"
BEGIN = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and what it starts inherits that
sys.argv = ["/usr/bin/endoforge"]
import flows.cli
from flows.cli.interruption import interruptible, leave_interrupted
ctrl_c = lambda: os.kill(os.getpid(), signal.SIGINT)
"""
SWALLOWED = """
with interruptible():
    try:
        ctrl_c()
    except KeyboardInterrupt:
        print("swallowed", flush=True)
    {then}
"""
WAITING = """
with interruptible():
    pass
threading.Timer(0.2, ctrl_c).start()
threading.Thread(target=time.sleep, args=(9,)).start()
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("ctrl_c()", "", id="while modules are imported"),
        pytest.param("threading.Timer(0.2, ctrl_c).start(); import atexit; atexit.register(time.sleep, 9)", "", id="while Python ends"),
        pytest.param(WAITING, "", id="while Python waits for a thread"),
        pytest.param(SWALLOWED.format(then="time.sleep(9)"), "swallowed\n", id="while a library swallows it"),
        pytest.param(SWALLOWED.format(then="ctrl_c()"), "swallowed\n", id="twice"),
    ],
)
def test_ctrl_c_ends_a_command_with_one_sentence(code: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=6)
    assert (done.returncode, done.stderr, done.stdout) == (130, SENTENCE, said)


def test_work_is_left_in_good_order_first() -> None:
    work = """
try:
    with interruptible():
        try:
            ctrl_c()
        finally:
            print("unlocked", flush=True)
except KeyboardInterrupt:
    code = leave_interrupted()
ctrl_c()
"""
    done = subprocess.run([sys.executable, "-c", BEGIN + work], capture_output=True, text=True, timeout=6)
    assert (done.returncode, done.stderr, done.stdout) == (130, SENTENCE, "unlocked\n")


def test_a_process_that_only_imports_the_commands_keeps_its_handler() -> None:
    import flows.cli

    assert flows.cli.__doc__
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)


def test_a_command_that_ignores_the_signal_goes_on_doing_so() -> None:
    ignoring = BEGIN.replace("signal.default_int_handler)", "signal.SIG_IGN)")
    done = subprocess.run([sys.executable, "-c", ignoring + "ctrl_c(); print('went on')"], capture_output=True, text=True, timeout=6)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "went on\n")

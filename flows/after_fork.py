"""Forked processes of a flow, such as the loader processes of a training, end well.

Prefect's services register what drains them at the interpreter's end. A forked child inherits that without the threads and the event that
it waits for, and Prefect 3.8 then fails an assertion: the child has done its work and ends with exit code 1, which PyTorch's DataLoader
takes for a death.
"""

from __future__ import annotations

import asyncio
import os

from prefect._internal.concurrency import services

__all__ = ["let_forks_end_well"]


def let_forks_end_well() -> None:
    """From now on, forked children find the services of their parent's flow drained."""
    os.register_at_fork(after_in_child=_call_services_drained)  # after Prefect's own, which forgets the event


def _call_services_drained() -> None:
    for service in services._active_services:
        service._done_event = asyncio.Event()
        service._done_event.set()

"""The Ray cluster: the one that RAY_ADDRESS names, or a local one that only this machine can reach."""

from __future__ import annotations

import logging
import os
import secrets
import sys

import psutil

__all__ = ["is_local", "ray_job_id", "start_ray"]


def is_local() -> bool:
    """Whether Ray runs, or would run, on this machine alone."""
    return "RAY_ADDRESS" not in os.environ


def start_ray() -> None:
    """Connect to RAY_ADDRESS's cluster, or start a local one that listens on loopback only; nothing to do if Ray already runs.

    Raises:
        ConnectionError: the cluster at RAY_ADDRESS is not there, or refuses this client's token.
        ValueError: the interpreter's path has a space, with which Ray cannot start workers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if is_local():
        # Ray replaces 127.0.0.1 by this machine's outer address, and listens there, unless clusters are switched off by this variable,
        # which, despite its name, holds on every system; it is read at import, which may already have happened
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # a training worker's threads share the cores with its loader's processes; spinning while they wait makes both many times slower
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # processes of Ray Train that watch for machines taken away, and figures for a dashboard that is not started
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
        # Ray writes a missing token into the home folder, which a service's user may not have; a local cluster's own needs no file
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    if ray.is_initialized():
        return
    if " " in sys.executable:
        raise ValueError(
            f"Ray cannot start its workers with {sys.executable!r}, because of the space in its path; "
            "move EndoForge to a folder without one, or use --runner serial"
        )
    if is_local():
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
        # What workers say is read from the run's folder; their own lines would drown the progress (without its dashboard, Ray Train repeats
        # a warning every second).
        # "local": without it Ray joins whatever cluster was started on this machine, which may be anybody's
        ray.init(
            "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            _memory=psutil.virtual_memory().total,  # Ray takes what happens to be free
        )
    else:
        _connect(os.environ["RAY_ADDRESS"])


def _connect(address: str) -> None:
    import ray
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    # Ray itself takes a token that is there only for a cluster that it finds without an address. A client with a token that the cluster
    # does not use connects, and then waits for ever: its workers are refused when they fetch what the client holds.
    has_token = _demands_token(address) and maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        ray.init(log_to_driver=True)
    except (ray.exceptions.AuthenticationError, ConnectionError) as error:
        token = "the token that was found here was sent" if has_token else "no token was sent"
        raise ConnectionError(
            f"the Ray cluster at RAY_ADDRESS={address} does not answer, or refuses this client ({token}). See that it runs; if it was "
            "started with a token, give the same one on every machine, in ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
        ) from error


def _demands_token(address: str) -> bool:
    """Whether the cluster at host:port refuses a client without a token; yes for an address of another kind, such as ray://."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

    if "://" in address or ":" not in address:
        return True
    try:
        GcsClient(address=address).get_all_node_info(timeout=30)
    except ray.exceptions.AuthenticationError:
        return True
    except Exception:  # it does not answer: ray.init says so
        return False
    return False


def ray_job_id() -> str | None:
    """Ray's id of this process's job; None if this process has not started Ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    return str(ray.get_runtime_context().get_job_id())

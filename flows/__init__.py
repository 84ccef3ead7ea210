"""Composition: Prefect flows, runners and the command line.

Importing this package switches off the telemetry of every library it composes, before any of them is imported, and keeps their servers on
loopback. It also keeps waiting threads from spinning. A variable that is set already wins: an operator may decide otherwise.
"""

import os

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait steal the cores from the processes they wait for
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # a busy machine takes longer than Prefect's 20 s
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _value)

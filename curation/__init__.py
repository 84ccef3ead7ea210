"""Curation: from the files of an archive to shards, one room per step.

Importing this package switches off the telemetry of ONNX Runtime. From version 1.29 on it reports every process and session to
its makers.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""The commands that work, as dataclasses: tyro makes the parsers and the help from them.

Nothing heavy is imported here; each command imports what it runs. Options come in this order: what the command is about, how it runs
(runner, workers), and then the settings of its stages.
"""

from flows.cli.commands.curation import Curate, Dedup, Embed, Ingest, Requalify, SelectForLabels
from flows.cli.commands.models import SCORES, Evaluate, ExportModel, Predict, Pretrain
from flows.cli.commands.privacy import PrivacyAudit, RemoveOutOfBody
from flows.cli.commands.whole import PROBE_S, Demo, Plan, Run

__all__ = [
    "PROBE_S",
    "SCORES",
    "Curate",
    "Dedup",
    "Demo",
    "Embed",
    "Evaluate",
    "ExportModel",
    "Ingest",
    "Plan",
    "Predict",
    "Pretrain",
    "PrivacyAudit",
    "RemoveOutOfBody",
    "Requalify",
    "Run",
    "SelectForLabels",
]

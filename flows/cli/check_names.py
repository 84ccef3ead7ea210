"""What a command names in a lake is looked for in it before torch, a decoder or a page's server is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import commands, questions
from flows.cli.job import asked
from flows.stages import refuse_taken_names

if TYPE_CHECKING:
    from warehouse.lake import Lake

__all__ = ["check_names"]


def check_names(command: Any) -> None:
    """Refuse a dataset, encoder, run, checkpoint, audit or score that the command's lake does not have.

    The lake is there; it is opened only if something is named.

    Raises:
        LakeError: something is not there, or a name is taken.
    """
    match command:
        case questions.Verify(name=dataset) | questions.Export(name=dataset) | questions.Publish(name=dataset):
            _look(command, dataset=dataset)
        case commands.PrivacyAudit(dataset=str(dataset)):
            _look(command, dataset=dataset)
        case commands.Pretrain(plan=False, resume=None, replay_nan=None, dataset=dataset):
            _look(command, dataset=dataset)
        case questions.Atlas(dataset=dataset):
            _look(command, dataset=dataset, encoders=(command.encoder, *((command.beside,) if command.beside else ())))
            if command.head is not None:
                from flows.atlas.heads import head_of_score

                with asked(command) as lake:
                    head_of_score(lake, command.head)
        case commands.Dedup() | commands.SelectForLabels():
            _look(command, encoders=(command.encoder,))
        case commands.Curate(plan=False):  # a plan counts what has yet to be embedded too
            with asked(command) as lake:
                _encoder(lake, command.encoder)
                refuse_taken_names(lake, command.name, command.config)
        case commands.Pretrain(resume=str(run)) | commands.Pretrain(replay_nan=str(run)):
            from flows.stages import find_run

            with asked(command) as lake:
                find_run(lake, run, purpose="resume" if command.resume else "replay")
        case questions.Report(run=named):
            from warehouse.queries import best_checkpoint, latest_pretraining

            with asked(command) as lake:
                best_checkpoint(lake, named or latest_pretraining(lake))
        case commands.ExportModel(checkpoint=checkpoint) if not Path(checkpoint).exists():
            from warehouse.model_facts import find_checkpoint

            with asked(command) as lake:
                find_checkpoint(lake, checkpoint)
        case commands.PrivacyAudit(sign_off=str(audit)):
            from warehouse.audits import audit_with_id
            from warehouse.private_frames import private_audit_with_id

            with asked(command) as lake:
                (private_audit_with_id if command.private else audit_with_id)(lake, audit)
        case commands.Predict(head=score) | commands.Evaluate(replay=str(score)):
            from warehouse.queries import score_with_id

            with asked(command) as lake:
                score_with_id(lake, score)
        case _:
            pass


def _look(command: Any, *, dataset: str | None = None, encoders: Sequence[str | None] = ()) -> None:
    from warehouse.dataset_queries import dataset_named

    with asked(command) as lake:
        for name in encoders:
            _encoder(lake, name)
        if dataset is not None:
            dataset_named(lake, dataset)


def _encoder(lake: Lake, name: str | None) -> None:
    from warehouse.queries import encoder_named

    encoder_named(lake, name)

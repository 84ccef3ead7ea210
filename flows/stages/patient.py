"""Patients by the name that a person gives."""

from __future__ import annotations

from curation.sources import patient_key, pseudonym
from warehouse.lake import Lake, LakeError
from warehouse.traces import videos_of_patient

__all__ = ["find_patient"]


def find_patient(lake: Lake, patient: str) -> tuple[str, ...]:
    """The pseudonyms under which a lake knows a patient, who is named as manifests do (with the key of pseudonyms) or by pseudonym.

    Raises:
        LakeError: no video of the lake is of that patient.
    """
    key = patient_key()
    named = [patient, *([pseudonym(patient, key)] if key is not None else [])]
    known = tuple(one for one in named if videos_of_patient(lake, one))
    if not known:
        hint = "" if key else "; without the key of pseudonyms (ENDOFORGE_PATIENT_KEY_FILE) a patient is known by pseudonym only"
        raise LakeError(f"no video of this lake is of patient {patient!r}{hint}")
    return known

"""Tables about what privacy took out: removals, pictures that wait for a person, and that person's decisions."""

from __future__ import annotations

from warehouse.tables.ids import FRAME_ID, INGEST_KEY, VIDEO_ID
from warehouse.tables.notation import Table, boolean, int32, int64, text, time

__all__ = ["PRIVACY_TABLES"]

_AUDIT_ID = text("audit, 16 hexadecimal digits; it stands on the audit's page")
_POSITION = int64("number of the picture on the page, 1 first")

PRIVACY_TABLES: dict[str, Table] = {
    "removals": Table(
        "Frames that an audit or a classifier took out for good, whatever a threshold says; removed_frames adds what shows the same",
        {
            "run_id": text("sign_off or out_of_body run that took it out"),
            "frame_id": FRAME_ID,
            "reason": text("identified_in_audit, video_removed_in_audit, or out_of_body (by the classifier)"),
            "source": text("audit that took it out, or the run of the classifier"),
        },
    ),
    "private_frames": Table(
        "Pictures withheld until a person has decided; only this table names their packs, which have file mode 0600",
        {
            "frame_id": FRAME_ID,
            "video_id": VIDEO_ID,
            "ingest_key": INGEST_KEY,
            "path": text("private pack, a tar below the lake's root"),
            "byte_offset": int64("of the JPEG's first byte in the private pack"),
            "byte_size": int64("size of the JPEG in bytes"),
            "width": int32("width of the JPEG in pixels"),
            "height": int32("height of the JPEG in pixels"),
            "sha256": text("SHA-256 of the JPEG, before it is erased"),
            "why": text(
                "out_of_body (any private filter) or text if it was dropped for that, mask if a box over it is not confirmed to be text"
            ),
            "unconfirmed_boxes": text("JSON like frames.text_boxes: the unconfirmed boxes, which are not painted in this picture"),
        },
    ),
    "private_decisions": Table(
        "What a person decided about private pictures, or that they were purged; the picture is then deleted unless is_kept",
        {
            "run_id": text("private_sign_off or purge_private run"),
            "frame_id": FRAME_ID,
            "decision": text("lifted, restored, released (with its mask), confirmed (stays out, or masked as it is) or purged (unseen)"),
            "audit_id": text("private audit that it was made in, 16 hexadecimal digits; null if purged"),
            "reviewer": text("name of the person, as given; null if purged"),
            "new_frame_id": text("row of frames that stands for this one from now on; null if nothing came back"),
            "is_named": boolean("whether the person gave the very picture's number to bring it back, so that no threshold drops it"),
            "is_kept": boolean("whether the private picture was to be kept"),
        },
    ),
    "private_audits": Table(
        "Looks at private pictures: a row when the page is drawn and one when it is signed; the latest row holds",
        {
            "audit_id": _AUDIT_ID,
            "run_id": text("private_audit run that drew it, or private_sign_off run that recorded the outcome"),
            "status": text("open or signed"),
            "reviewer": text("name of the person, as given; null while open"),
            "note": text("what that person wrote; null if nothing"),
            "num_frames": int64("pictures on the page"),
            "sheet": text("page below the lake's root, file mode 0600; deleted at the sign-off unless pictures are kept"),
            "recorded_at": time("when this state was recorded"),
        },
    ),
    "private_audit_frames": Table(
        "Pictures on the page of each private audit",
        {"audit_id": _AUDIT_ID, "frame_id": FRAME_ID, "position": _POSITION},
    ),
    "audits": Table(
        "Looks at a sample of kept frames: a row when it is drawn and one for each sign-off; the view audit_status adds them up",
        {
            "audit_id": _AUDIT_ID,
            "run_id": text("privacy_audit run that drew it, or sign_off run that recorded an outcome"),
            "dataset_id": text("dataset that was sampled, a row of datasets; null if it was all candidates"),
            "status": text("open, or of this sign-off clean or findings"),
            "reviewer": text("name of the person, as given; null while open"),
            "note": text("what that person wrote; null if nothing"),
            "num_frames": int64("frames on the page"),
            "num_findings": int64("frames that this person found to identify someone; null while open"),
            "seed": int64("of the draw"),
            "sheet": text("page with the pictures, below the lake's root"),
            "recorded_at": time("when this state was recorded"),
        },
    ),
    "audit_frames": Table(
        "Frames on the page of each audit",
        {
            "audit_id": _AUDIT_ID,
            "frame_id": FRAME_ID,
            "position": _POSITION,
            "stratum": text("random, or doubtful: those high in out_of_body or text_share, or not searched for text, come first"),
        },
    ),
}

from .config import IngestConfig as IngestConfig, RequalifyConfig as RequalifyConfig, percentiles as percentiles
from .decide import decide_film as decide_film, spare_reasons as spare_reasons
from .device_config import DeviceConfig as DeviceConfig, requalify_config as requalify_config
from .ingest import (
    INGEST_VERSION as INGEST_VERSION,
    SCRATCH as SCRATCH,
    evidence_path as evidence_path,
    ingest_key as ingest_key,
    ingest_video as ingest_video,
    left_for_later as left_for_later,
    reject_for_failure as reject_for_failure,
)
from .playback import (
    Playback as Playback,
    content_mask as content_mask,
    opened_for_playback as opened_for_playback,
    opened_stream as opened_stream,
    visible_mask as visible_mask,
)
from .private_pack import erase_pictures as erase_pictures
from .private_sheet import (
    PRIVATE_AUDIT_VERSION as PRIVATE_AUDIT_VERSION,
    PrivatePicture as PrivatePicture,
    render_private_sheet as render_private_sheet,
)
from .requalify import (
    REQUALIFY_VERSION as REQUALIFY_VERSION,
    device_thresholds as device_thresholds,
    requalify_part as requalify_part,
    usable_scores as usable_scores,
)
from .restore import Returning as Returning, bring_back as bring_back, restored_id as restored_id
from .scan import Sample as Sample, Scan as Scan, measure_frame as measure_frame, refuse_large as refuse_large, spooled as spooled
from .source import refuse_changed as refuse_changed, scan_source as scan_source
from .stills import read_still as read_still
from .survey import NUM_PICTURES as NUM_PICTURES, Survey as Survey, survey_part as survey_part, survey_video as survey_video

from .discover import (
    IMAGE_SUFFIXES as IMAGE_SUFFIXES,
    SIDECAR_SUFFIXES as SIDECAR_SUFFIXES,
    alone as alone,
    current_version as current_version,
    find_videos as find_videos,
    local_path as local_path,
    look_at as look_at,
    seconds_since_change as seconds_since_change,
)
from .fetch_cache import remove_dead_scratch as remove_dead_scratch, scratch_folder as scratch_folder
from .identity import identify as identify
from .left_for_later import LeftForLater as LeftForLater, irregular as irregular, is_gone as is_gone, withheld as withheld
from .manifest import (
    KEY_FILE_VARIABLE as KEY_FILE_VARIABLE,
    KEY_VARIABLE as KEY_VARIABLE,
    Manifest as Manifest,
    is_manifest as is_manifest,
    listed_videos as listed_videos,
    patient_key as patient_key,
    pseudonym as pseudonym,
    read_manifest as read_manifest,
)
from .read_errors import source_file as source_file
from .remote import check_uri as check_uri, fetch as fetch, is_uri as is_uri, look_up as look_up

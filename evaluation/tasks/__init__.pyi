from .binary_cut import BinaryCut as BinaryCut
from .contents import (
    FileFacts as FileFacts,
    box_fault as box_fault,
    boxes_inside as boxes_inside,
    look_at_files as look_at_files,
    most_unreadable as most_unreadable,
    readable_task as readable_task,
    without_unreadable as without_unreadable,
)
from .expected import Expected as Expected
from .folder import PATIENTS_UNKNOWN as PATIENTS_UNKNOWN, read_task as read_task
from .items import (
    SPLITS as SPLITS,
    SUBGROUPS as SUBGROUPS,
    Fingerprint as Fingerprint,
    Item as Item,
    MaskEncoding as MaskEncoding,
    TaskData as TaskData,
    TaskError as TaskError,
    TrueBox as TrueBox,
    files_of as files_of,
    fingerprint as fingerprint,
)
from .layout import check_data as check_data, image_files as image_files
from .masks import mask_pixels as mask_pixels
from .pixels import eight_bit as eight_bit, open_file as open_file, oriented_size as oriented_size, upright as upright
from .protocol import Protocol as Protocol
from .readers import (
    read_class_folders as read_class_folders,
    read_label_csv as read_label_csv,
    read_mask_folders as read_mask_folders,
    read_rows as read_rows,
)
from .registry import (
    KNOWN_TASKS as KNOWN_TASKS,
    TASKS as TASKS,
    check_task_name as check_task_name,
    configured_task as configured_task,
    folds_of as folds_of,
    resolve_task as resolve_task,
    task_sentence as task_sentence,
)
from .split_protocol import SplitProtocol as SplitProtocol
from .stored_splits import SplitStore as SplitStore, StoredSplit as StoredSplit
from .task import NO_PATIENTS as NO_PATIENTS, Reading as Reading, Task as Task

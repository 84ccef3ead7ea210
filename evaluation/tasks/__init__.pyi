from .binary_cut import BinaryCut as BinaryCut
from .expected import Expected as Expected
from .folder import read_task as read_task
from .items import (
    SPLITS as SPLITS,
    Fingerprint as Fingerprint,
    Item as Item,
    TaskData as TaskData,
    TaskError as TaskError,
    fingerprint as fingerprint,
)
from .protocol import Protocol as Protocol
from .readers import (
    image_files as image_files,
    read_class_folders as read_class_folders,
    read_label_csv as read_label_csv,
    read_mask_folders as read_mask_folders,
    read_rows as read_rows,
)
from .registry import (
    KNOWN_TASKS as KNOWN_TASKS,
    TASKS as TASKS,
    check_task_name as check_task_name,
    folds_of as folds_of,
    resolve_task as resolve_task,
    task_sentence as task_sentence,
)
from .split_protocol import SplitProtocol as SplitProtocol
from .task import Reading as Reading, Task as Task

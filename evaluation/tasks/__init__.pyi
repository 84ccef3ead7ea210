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
    resolve_task as resolve_task,
    task_sentence as task_sentence,
)
from .task import Reading as Reading, Task as Task

from .config import ShardConfig as ShardConfig
from .dataset_folder import SUMS as SUMS, finish_dataset as finish_dataset, read_sums as read_sums
from .dataset_name import SELECTION_PLACEHOLDER as SELECTION_PLACEHOLDER, check_dataset_name as check_dataset_name
from .export import (
    ExportFormat as ExportFormat,
    ShardExport as ShardExport,
    export_shard as export_shard,
    write_metadata as write_metadata,
)
from .members import CLIP_SCHEMA as CLIP_SCHEMA, CLIPS as CLIPS, IMAGES as IMAGES, KINDS as KINDS, MemberKind as MemberKind
from .plan import SHARD_VERSION as SHARD_VERSION, Reencode as Reencode, plan_shards as plan_shards
from .publish import FileSending as FileSending, send_file as send_file
from .shard_check import ShardCheck as ShardCheck, verify_shard as verify_shard
from .verify_folder import folder_problems as folder_problems
from .write import sidecar_name as sidecar_name, write_shard as write_shard

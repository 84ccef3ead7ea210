from .alerts import AlertsRaisedError as AlertsRaisedError, Check as Check, run_alerts as run_alerts
from .audit import run_audit as run_audit, run_sign_off as run_sign_off
from .check_data import run_check_data as run_check_data
from .checks import (
    check_count as check_count,
    check_dataset_names as check_dataset_names,
    check_deployments as check_deployments,
    check_encoder as check_encoder,
    check_faiss as check_faiss,
    check_fewest as check_fewest,
    check_given as check_given,
    check_held_out as check_held_out,
    check_inputs as check_inputs,
    check_new_folder as check_new_folder,
    check_task as check_task,
    check_training as check_training,
    check_validation as check_validation,
    refuse_taken_names as refuse_taken_names,
)
from .clips import run_clips as run_clips, write_strips as write_strips
from .cluster import find_tree as find_tree, frames_to_place as frames_to_place, run_cluster as run_cluster
from .compare_models import run_compare as run_compare
from .costs import Sizes as Sizes, place_cost as place_cost, rate_of_runs as rate_of_runs
from .curate import run_curate as run_curate, run_curation as run_curation
from .datasets import export_dataset as export_dataset, verify_dataset as verify_dataset
from .dedup import (
    plan_dedup as plan_dedup,
    plan_similarity as plan_similarity,
    run_dedup as run_dedup,
    run_dedup_alone as run_dedup_alone,
    run_similarity as run_similarity,
)
from .dedup_preview import run_dedup_preview as run_dedup_preview
from .embed import run_embed as run_embed
from .evaluate import run_evaluate as run_evaluate
from .export_model import ModelFormat as ModelFormat, run_export_model as run_export_model
from .forget import find_subject as find_subject, run_forget as run_forget, say_traces as say_traces
from .holdout import plan_holdout as plan_holdout, read_held_out as read_held_out, run_holdout as run_holdout
from .ingest import run_ingest as run_ingest
from .model_names import check_models as check_models
from .order import (
    STAGES as STAGES,
    check_stages as check_stages,
    run_stages as run_stages,
    stages_of as stages_of,
    steps as steps,
)
from .out_of_body import run_remove_out_of_body as run_remove_out_of_body
from .patient import find_patient as find_patient
from .pool import cluster_pool as cluster_pool
from .predict import run_predict as run_predict
from .pretrain import run_pretrain as run_pretrain
from .private_audit import (
    PrivateOutcome as PrivateOutcome,
    run_private_audit as run_private_audit,
    run_private_sign_off as run_private_sign_off,
    run_purge_private as run_purge_private,
)
from .publish import publish_dataset as publish_dataset
from .reject_reasons import NothingIngestedError as NothingIngestedError
from .replay import run_replay as run_replay
from .replay_score import run_replay_score as run_replay_score
from .report import run_report as run_report
from .requalify import run_requalify as run_requalify
from .resume import run_resume as run_resume
from .rotation import evaluate_folds as evaluate_folds
from .run_words import run_in_words as run_in_words
from .select import plan_select as plan_select, run_select as run_select
from .select_for_labels import LabelRequest as LabelRequest, run_select_for_labels as run_select_for_labels
from .shard import plan_shard as plan_shard, run_shard as run_shard
from .side_by_side import evaluate_models as evaluate_models
from .stage import Made as Made, Stage as Stage
from .trained_run import find_run as find_run
from .upkeep import run_backup as run_backup, run_maintain as run_maintain, run_restore as run_restore

"""An example of each command, shown by its --help; options in them are checked by a test."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES = {
    "demo": "endoforge demo --out demo",
    "plan": "endoforge plan /archive --size 1000000 --recipe vits14 --cores 64 --gpus 8xH100",
    "run": "endoforge run /archive --lake /data/lake --size 10000 --recipe small",
    "ingest": "endoforge ingest videos.csv --lake /data/lake --fps auto",
    "requalify": "endoforge requalify --lake /data/lake --min-blur 12",
    "embed": "endoforge embed --lake /data/lake",
    "dedup": "endoforge dedup --lake /data/lake --preview",
    "curate": "endoforge curate --lake /data/lake --name first --size 10000 --holdout /data/kvasir",
    "select-for-labels": "endoforge select-for-labels --lake /data/lake --size 200",
    "privacy-audit": "endoforge privacy-audit --lake /data/lake --sample 300",
    "remove-out-of-body": "endoforge remove-out-of-body --lake /data/lake --labels /data/rooms --dry-run",
    "forget": "endoforge forget --lake /data/lake --patient P0042 --dry-run",
    "pretrain": "endoforge pretrain --lake /data/lake --dataset first --recipe vits14",
    "evaluate": "endoforge evaluate --model RUN --task kvasir_seg --data /data/kvasir --lake /data/lake",
    "predict": "endoforge predict video.mp4 --lake /data/lake --head SCORE --out predicted",
    "export-model": "endoforge export-model RUN --lake /data/lake --out model --format timm onnx",
    "report": "endoforge report --lake /data/lake",
    "atlas": "endoforge atlas --lake /data/lake",
    "leaderboard": "endoforge leaderboard --lake /data/lake --format md",
    "compare": "endoforge compare RUN efficientnet-lite0 --lake /data/lake",
    "sql": 'endoforge sql --lake /data/lake "FROM funnel"',
    "tables": "endoforge tables frames",
    "lineage": "endoforge lineage --lake /data/lake first",
    "check-data": "endoforge check-data /data/labelled --task auto",
    "doctor": "endoforge doctor --lake /data/lake",
    "datasets": "endoforge datasets --lake /data/lake",
    "diff": "endoforge diff first second --lake /data/lake",
    "verify": "endoforge verify first --lake /data/lake",
    "export": "endoforge export first --lake /data/lake --format hf --out exported",
    "init-lake": 'endoforge init-lake --lake /mnt/lake --catalog "ducklake:postgres:dbname=lake host=db"',
    "snapshots": "endoforge snapshots --lake /data/lake --tag paper",
    "maintain": "endoforge maintain --lake /data/lake --keep-days 30",
    "alerts": "endoforge alerts --lake /data/lake",
    "backup": "endoforge backup /mnt/backup/lake --lake /data/lake",
    "restore": "endoforge restore /mnt/backup/lake --lake /data/new",
    "deploy": "endoforge deploy prefect.yaml",
}

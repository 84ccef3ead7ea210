"""What a curation chooses from: frames, or clips. The stages ask here, and are otherwise the same for both."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.clips import clip_key, read_clip_vectors
from curation.shards import CLIPS, IMAGES, MemberKind
from flows.config import RunConfig
from flows.stages.stage import Made, needed
from warehouse import clips as lake_side, dataset_queries, queries
from warehouse.lake import Lake

__all__ = ["candidates_state", "cluster_pool", "export_candidates", "export_clustered", "members_of", "what"]


def what(made: Made) -> str:
    """What they are, in a sentence."""
    return "clips" if made.clips else "frames"


def candidates_state(lake: Lake, made: Made) -> str:
    """Names the set of candidates."""
    return made.clips.artifact_id if made.clips else queries.candidates_state(lake, made.encoder_id)


def export_candidates(lake: Lake, made: Made, path: Path, *, holdout_id: str | None) -> int:
    """Write the candidates as the search for duplicates takes them; returns how many. Clips that are held out are none already."""
    if not made.clips:
        return queries.export_candidates(lake, made.encoder_id, path, holdout_id=holdout_id)
    shutil.copyfile(_clips(lake, made), path)
    return made.clips.num_rows or 0


def cluster_pool(lake: Lake, made: Made) -> dict[str, Any]:
    """The arguments of clustering by which it finds the clips, and names them; none for frames."""
    return {"export": partial(_export_unique, clips=_clips(lake, made)), "item": "clip"} if made.clips else {}


def _export_unique(lake: Lake, dedup_id: str, path: Path, *, clips: Path, not_in_tree: str | None = None) -> int:
    return lake_side.export_clips_unique(lake, dedup_id, clips, path, not_in_tree=not_in_tree)


def export_clustered(lake: Lake, made: Made, path: Path) -> int:
    """Write what is drawn from, as the selection takes it; returns how many."""
    tree_id, dedup_id = needed(made.tree).artifact_id, needed(made.dedup).artifact_id
    if made.clips:
        return lake_side.export_clips_clustered(lake, tree_id, dedup_id, _clips(lake, made), path)
    return queries.export_clustered(lake, tree_id, dedup_id, path)


def members_of(lake: Lake, config: RunConfig, made: Made) -> tuple[pa.Table, MemberKind]:
    """What sharding needs of each that is selected, and of which kind they are."""
    selection_id, tree_id = needed(made.selection).artifact_id, needed(made.tree).artifact_id
    if made.clips:
        return lake_side.clip_members(lake, selection_id, tree_id, clip_key(config.clips)), CLIPS
    return dataset_queries.dataset_members(lake, selection_id, tree_id), IMAGES


def _clips(lake: Lake, made: Made) -> Path:
    return lake.root / read_clip_vectors(lake.root, needed(made.clips).uri).clips

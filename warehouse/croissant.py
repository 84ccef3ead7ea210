"""A dataset as Croissant metadata (MLCommons, https://docs.mlcommons.org/croissant, 1.1): files with hashes, record sets, lineage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warehouse.dataset_card import DataForm, privacy_statement
from warehouse.dataset_facts import DatasetFacts
from warehouse.records import Dataset

__all__ = ["DataFile", "croissant"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "prov": "http://www.w3.org/ns/prov#",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_COLUMNS = {
    "position": ("sc:Integer", "in the order of the shards and of the members within"),
    "shard": ("sc:Text", "file name of the tar"),
    "frame_id": ("sc:Text", "content id of the frame; its members are {frame_id}.jpg and {frame_id}.json"),
    "video_id": ("sc:Text", "SHA-256 of the video file"),
    "byte_offset": ("sc:Integer", "of the JPEG's first byte in its tar"),
    "byte_size": ("sc:Integer", "of the JPEG"),
}


_CSV_COLUMNS = {
    "file_name": ("sc:Text", "path of the JPEG"),
    "frame_id": ("sc:Text", "content id of the frame"),
    "video_id": ("sc:Text", "SHA-256 of the video file"),
    "pts_us": ("sc:Integer", "presentation time in the video, in microseconds"),
}

_PARQUET_COLUMNS = {name: _COLUMNS[name] for name in ("position", "frame_id", "video_id")}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file beside croissant.json."""

    path: str
    """relative to croissant.json"""
    num_bytes: int
    sha256: str


def croissant(dataset: Dataset, facts: DatasetFacts, *, form: DataForm, files: Sequence[DataFile]) -> str:
    """The text of croissant.json.

    Args:
        dataset: with its tars.
        facts: what the lake knows of it.
        form: of the data beside croissant.json.
        files: samples.parquet of shards and hf; the Parquet files of parquet; metadata.csv of imagefolder.
    """
    distribution, record_sets = _DATA[form](dataset, files)
    settings = "; ".join(f"{stage} {json.dumps(config, sort_keys=True)}" for stage, _, _, config in facts.stages)
    value: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": dataset.name,
        "description": f"{dataset.num_images} images of gastrointestinal endoscopy from {facts.num_videos} videos, as {_FORMS[form]}.",
        "identifier": dataset.dataset_id,
        "version": "1.0.0",
        "license": "The terms of the institution that holds the recordings",
        "isLiveDataset": False,
        "rai:dataCollection": "Frames of routine endoscopy recordings, sampled, filtered, deduplicated, clustered and balanced. "
        + "; ".join(f"{step}{' ' + reason if reason else ''} {number}" for step, reason, number in facts.funnel),
        "rai:dataPreprocessingProtocol": settings,
        "rai:personalSensitiveInformation": privacy_statement(facts),
        "rai:dataBiases": _biases(facts),
        "rai:dataLimitations": "Without labels; for self-supervised pretraining. No diagnosis may be drawn from it.",
        "prov:wasDerivedFrom": [{"@id": f"urn:endoforge:selection:{dataset.selection_id}"}],
        "prov:wasGeneratedBy": [{"@id": f"urn:endoforge:run:{run_id}"} for _, run_id, _, _ in facts.stages],
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


_FORMS: dict[DataForm, str] = {
    "shards": "WebDataset tars",
    "hf": "WebDataset tars",
    "parquet": "Parquet files",
    "imagefolder": "JPEG files",
}

_Parts = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""distribution and record sets"""


def _in_tars(dataset: Dataset, files: Sequence[DataFile]) -> _Parts:
    (table,) = files
    folder = table.path.removesuffix("samples.parquet")
    tars = [_file(shard.name, folder + shard.name, shard.num_bytes, shard.sha256, "application/x-tar") for shard in dataset.shards]
    images = _file_set("images", "The JPEG members of the tars.", "image/jpeg", "*.jpg")
    images["containedIn"] = [{"@id": shard.name} for shard in dataset.shards]
    samples = _file("samples.parquet", table.path, table.num_bytes, table.sha256, "application/x-parquet")
    return [*tars, samples, images], [_images(), _frames({"fileObject": {"@id": "samples.parquet"}}, _COLUMNS, "position")]


def _in_parquet(dataset: Dataset, files: Sequence[DataFile]) -> _Parts:
    parts = [_file(file.path, file.path, file.num_bytes, file.sha256, "application/x-parquet") for file in files]
    table = _file_set("parquet-files", "The Parquet files.", "application/x-parquet", "data/*.parquet")
    frames = _frames({"fileSet": {"@id": "parquet-files"}}, _PARQUET_COLUMNS, "position")
    pixels = {"fileSet": {"@id": "parquet-files"}, "extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
    frames["field"].append(_field("frames", "image", "sc:ImageObject", "the JPEG", pixels))
    return [*parts, table], [frames]


def _in_folders(dataset: Dataset, files: Sequence[DataFile]) -> _Parts:
    (table,) = files
    metadata = _file("metadata.csv", table.path, table.num_bytes, table.sha256, "text/csv")
    images = _file_set("images", "The JPEG files, in a folder for each cluster.", "image/jpeg", "cluster-*/*.jpg")
    return [metadata, images], [_images(), _frames({"fileObject": {"@id": "metadata.csv"}}, _CSV_COLUMNS, "frame_id")]


_DATA: dict[DataForm, Callable[[Dataset, Sequence[DataFile]], _Parts]] = {
    "shards": _in_tars,
    "hf": _in_tars,
    "parquet": _in_parquet,
    "imagefolder": _in_folders,
}


def _file_set(identity: str, description: str, kind: str, includes: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": identity,
        "name": identity,
        "description": description,
        "encodingFormat": kind,
        "includes": includes,
    }


def _file(identity: str, url: str, num_bytes: int, sha256: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": identity,
        "name": identity,
        "contentUrl": url,
        "contentSize": f"{num_bytes} B",
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _field(record_set: str, name: str, kind: str, description: str, source: Mapping[str, Any]) -> dict[str, Any]:
    identity = f"{record_set}/{name}"
    return {"@type": "cr:Field", "@id": identity, "name": identity, "description": description, "dataType": kind, "source": source}


def _images() -> dict[str, Any]:
    def of_file(name: str, **transform: Any) -> dict[str, Any]:
        return {"fileSet": {"@id": "images"}, "extract": {"fileProperty": name}, **transform}

    stem = {"transform": {"regex": r"^(.*)\.jpg$"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "images_by_frame",
        "name": "images_by_frame",
        "key": {"@id": "images_by_frame/frame_id"},
        "field": [
            _field("images_by_frame", "frame_id", "sc:Text", "the member's name without .jpg", of_file("filename", **stem)),
            _field("images_by_frame", "image", "sc:ImageObject", "the JPEG", of_file("content")),
        ],
    }


def _frames(source: Mapping[str, Any], columns: Mapping[str, tuple[str, str]], key: str) -> dict[str, Any]:
    fields = [
        _field("frames", name, kind, description, {**source, "extract": {"column": name}}) for name, (kind, description) in columns.items()
    ]
    return {"@type": "cr:RecordSet", "@id": "frames", "name": "frames", "key": {"@id": f"frames/{key}"}, "field": fields}


def _biases(facts: DatasetFacts) -> str:
    said = [f"Evenness over the finest clusters {facts.entropy:.3f} (candidates {facts.entropy_of_candidates:.3f})"]
    for column, rows in facts.mixes.items():
        said.append(f"{column}: " + ", ".join(f"{row.value or 'not known'} {100 * row.share:.1f}%" for row in rows))
    return "; ".join(said)

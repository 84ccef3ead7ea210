"""The files of containers say what they promise; no machine here can pull a base image."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "containers"


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


def test_the_image_copies_what_is_there_and_runs_without_rights() -> None:
    lines = (FOLDER / "Containerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]
    assert [word for word in copied if not (FOLDER.parent / word).exists()] == []
    assert {"flows", "curation", "pretrain", "evaluation", "warehouse"} < set(copied)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]


@pytest.mark.parametrize("name", ["server", "deploy", "ray", "worker"])
def test_a_service_of_ours_has_no_rights_and_no_way_out(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("networks", ["inside"]) == ["inside"]
    assert service.get("network_mode", "service:ray") == "service:ray"
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert compose["networks"] == {"inside": {"internal": True}}


def test_each_variable_must_be_given_and_is_named_at_the_top() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    head = "".join(line for line in text.splitlines() if line.startswith("#"))
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert asked == set(re.findall(r"\$\{(\w+)", text))
    assert {name for name in asked if f"{name}=" not in head} == set()

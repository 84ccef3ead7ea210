"""The files of containers say what they promise; `drill_container.sh` builds the image and runs it."""

import os
import re
import signal
import subprocess
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


@pytest.mark.parametrize("name", ["server", "deploy", "worker"])
def test_a_service_of_ours_has_no_rights_and_no_way_out(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["networks"] == ["inside"]
    assert "network_mode" not in service
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    assert compose["networks"] == {"inside": {"internal": True}}


def test_each_variable_must_be_given_and_is_named_at_the_top() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    head = "".join(line for line in text.splitlines() if line.startswith("#"))
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    assert asked == set(re.findall(r"\$\{(\w+)", text))
    assert {name for name in asked if f"{name}=" not in head} == set()


def test_runs_start_in_a_folder_that_the_image_has() -> None:
    (mounted,) = services()["deploy"]["volumes"]
    (workdir,) = [line.split()[1] for line in (FOLDER / "Containerfile").read_text().splitlines() if line.startswith("WORKDIR /opt")]
    assert mounted.split(":")[-2] == f"{workdir}/{services()['deploy']['command'][-1]}"


@pytest.mark.parametrize("ray_ends", [False, True])
def test_the_worker_ends_in_good_order_or_with_its_ray_node(ray_ends: bool, tmp_path: Path) -> None:
    programs = {
        "ray": "exit 3" if ray_ends else "exec sleep 3",
        # Prefect's worker sends itself SIGINT at SIGTERM
        "prefect": "trap 'kill -INT $$' TERM; trap 'echo ended; exit' INT; echo ready; for _ in {1..30}; do sleep 0.1; done",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (script,) = services()["worker"]["command"]
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    with subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # bash cannot catch what was ignored before it
    ) as started:
        assert started.stdout is not None
        if not ray_ends:
            assert started.stdout.readline() == "ready\n"
            started.terminate()
            assert started.stdout.readline() == "ended\n"
        assert started.wait(10) == 1

"""The whole way, once, at a tiny size: what a user finds afterwards."""

import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from flows.cli.cli import COMMANDS, main
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.recipes import recipe
from tests.flows.conftest import Demo, endoforge, kill_when, succeed
from tests.helpers.interrupted import SENTENCE
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow


def rows(demo: Demo, sql: str) -> list[dict[str, object]]:
    with open_lake(demo.lake, read_only=True) as lake:
        return lake.rows(sql)


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a command answers; in this process, for a new one would load everything anew."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_an_interrupted_demo_says_one_sentence_and_leaves_no_process(demo: Demo) -> None:
    assert (demo.interrupted.code, demo.interrupted.said, demo.interrupted.left) == (130, [SENTENCE], [])
    assert demo.interrupted.seconds < 5.0


def test_the_same_command_again_ends_with_its_report(demo: Demo) -> None:
    assert demo.printed.strip() == str(demo.folder / "report.html")
    assert (demo.folder / "report.html").stat().st_size > 1_000_000
    assert rows(demo, "SELECT num_images FROM datasets") == [{"num_images": 40}]


def test_only_its_owner_may_look_at_what_it_made(demo: Demo) -> None:
    made = [path for path in (demo.lake, *demo.lake.rglob("*")) if not path.is_symlink()]
    assert {path.name for path in made} >= {"catalog.sqlite", "metrics.jsonl", "report.html", "samples.parquet"}
    assert {path.suffix for path in made} >= {".tar", ".parquet", ".safetensors", ".lock"}
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (*made, demo.folder / "report.html")}
    assert modes == {(True, 0o700), (False, 0o600)}, [path for path in made if path.stat().st_mode & 0o077]


def test_typed_again_it_recomputes_nothing(demo: Demo) -> None:
    before = rows(demo, "SELECT attempt_id, ended_at FROM runs ORDER BY ALL")
    succeed(*demo.arguments)
    assert rows(demo, "SELECT attempt_id, ended_at FROM runs ORDER BY ALL") == before


def test_files_that_give_no_frame_are_named_with_their_reasons(demo: Demo) -> None:
    rejects = rows(demo, "SELECT split_part(uri, '/', -1) AS name, reason, detail FROM rejects ORDER BY reason")
    assert [(row["name"], row["reason"]) for row in rejects] == [
        ("procedure_000_again.mp4", "duplicate"),
        ("procedure%20001_damaged.mp4", "undecodable"),
    ]
    assert str(rejects[0]["detail"]).startswith("the same content as video ")
    assert str(rejects[1]["detail"]).startswith("a video container whose index is missing or damaged")
    assert "rejects  1 duplicate: procedure_000_again.mp4\n         1 undecodable: procedure%20001_damaged.mp4\n" in demo.said


def test_a_film_that_leaks_is_held_out_with_its_verdict(demo: Demo) -> None:
    found = rows(demo, "SELECT split_part(video, '/', -1) AS video, reference, correlation FROM holdout_matches")
    assert len(found) >= 3
    assert {row["video"] for row in found} == {"teaching%20film.mp4"}
    assert all(re.fullmatch(r"evaluation/landmarks/images/p007_\w+_00.jpg", str(row["reference"])) for row in found)
    assert min(float(str(row["correlation"])) for row in found) > 0.8
    assert f"; {len(found)} frames held out\n" in demo.said
    assert rows(demo, "SELECT DISTINCT details ->> 'leak_pretraining' AS verdict FROM scores WHERE model LIKE 'pretrain%'") == [
        {"verdict": "clean"}
    ]


def test_patients_sites_and_devices_are_known(demo: Demo) -> None:
    counts = "count(*) AS n, count(DISTINCT patient_id) AS patients, count(DISTINCT site) AS sites, count(device) AS devices"
    (known,) = rows(demo, f"SELECT {counts} FROM video_info")
    assert known == {"n": 6, "patients": 5, "sites": 2, "devices": 6}  # the damaged file is known too
    shown = re.search(r'id="report-data">(.*?)</script>', (demo.folder / "report.html").read_text(), re.DOTALL)
    assert shown is not None
    assert {"not held out", "kept"} <= {step["name"] for step in json.loads(shown[1])["funnel"]}


def test_every_stage_is_one_recorded_run_with_its_prefect_flow(demo: Demo) -> None:
    stages = rows(demo, "SELECT stage, count(*) AS n, count(prefect_flow_run_id) AS flows FROM runs GROUP BY stage ORDER BY stage")
    expected = {
        "cluster": 1,
        "dedup": 1,
        "embed": 1,
        "evaluate": 3,
        "holdout": 1,
        "ingest": 1,
        "manifest": 1,
        "pretrain": 1,
        "report": 1,
        "select": 1,
        "shard": 1,
        "similarity": 1,
    }
    assert stages == [{"stage": stage, "n": n, "flows": n} for stage, n in expected.items()]


def test_scores_have_baselines_beside_them(demo: Demo) -> None:
    found = rows(demo, "SELECT DISTINCT task, split_part(model, ' ', 1) AS model FROM scores ORDER BY ALL")
    run = str(rows(demo, "SELECT run_id FROM runs WHERE stage = 'pretrain'")[0]["run_id"])
    models = sorted(["efficientnet-lite0", "no", run, "random"])
    assert found == [{"task": task, "model": model} for task in ("grades", "landmarks", "polyps") for model in models]


def test_lineage_leads_from_a_score_back_to_every_video(demo: Demo) -> None:
    score = str(rows(demo, "SELECT score_id FROM scores ORDER BY score_id LIMIT 1")[0]["score_id"])
    tree = succeed("lineage", "--lake", demo.lake, score).out
    order = ["score", "checkpoint", "dataset", "selection", "cluster_tree", "dedup", "similarity", "embedding_part", "frame_pack", "video"]
    assert [kind for kind in order if f"{kind} " not in tree] == []
    for video in (demo.folder / "videos").rglob("procedure????.mp4"):
        assert video.as_uri() in tree


def test_lineage_leads_from_a_video_to_the_scores_it_took_part_in(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    video = str(rows(demo, "SELECT video_id FROM frames JOIN shard_frames USING (frame_id) LIMIT 1")[0]["video_id"])
    tree = said(capsys, "lineage", "--lake", demo.lake, video)
    assert "checkpoint " in tree
    assert "score " in tree


def test_a_video_leads_to_its_own_packs_alone_and_says_how_many_of_its_frames_were_taken(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    (video,) = rows(
        demo,
        """SELECT f.video_id AS id, count(*) AS n FROM shard_frames s JOIN frames f USING (frame_id) GROUP BY 1 ORDER BY n DESC LIMIT 1""",
    )
    packs = rows(demo, f"SELECT pack_id FROM packs WHERE video_id = '{video['id']}'")  # that of the kept frames, and that of the spare ones
    tree = said(capsys, "lineage", "--lake", demo.lake, str(video["id"])[:16])  # what lineage itself prints of a video's id
    assert sorted(re.findall(r"frame_pack (\w+)", tree)) == sorted(str(row["pack_id"])[:16] for row in packs)
    assert f"{video['n']} of its frames are in dataset phantom" in tree


def test_lineage_of_a_shard_by_its_name_or_hash(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    shard = rows(demo, "SELECT * FROM shards ORDER BY shard LIMIT 1")[0]
    by_name = said(capsys, "lineage", "--lake", demo.lake, str(shard["shard"]), "--most", "1")
    assert by_name.startswith(f"shard {shard['shard']} ({shard['num_images']} images")
    assert "frames of video " in by_name
    assert "more of kind video" in by_name
    assert "checkpoint " in by_name
    assert said(capsys, "lineage", "--lake", demo.lake, str(shard["sha256"])[:12], "--most", "1") == by_name


def test_no_shard_holds_a_path_or_a_patient(demo: Demo) -> None:
    for shard in sorted((demo.lake / "shards" / "phantom").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            for member in members:
                assert member is not None
                text = member.read().decode()
                assert "patient" not in text.lower()
                assert "/" not in text


def test_a_checkpoint_is_scored_on_a_users_own_folders(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = [line.split(",") for line in (demo.folder / "evaluation" / "landmarks" / "labels.csv").read_text().splitlines()[1:]]
    for path, label, split, *_ in index:
        target = tmp_path / "my landmarks" / split / label
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo.folder / "evaluation" / "landmarks" / path, target / path.replace("/", "_"))
    run = str(rows(demo, "SELECT run_id FROM runs WHERE stage = 'pretrain'")[0]["run_id"])
    command = ["evaluate", "--lake", str(demo.lake), "--checkpoint", run, "--task", "auto", "--data", str(tmp_path / "my landmarks")]
    for sentence in ("my landmarks knn balanced_accuracy", "is scored already"):
        assert main(command) == 0
        assert sentence in capsys.readouterr().err


def trained(lake: Path) -> tuple[list[dict[str, object]], list[dict[str, object]], bytes]:
    """The losses and scores of the run with seed 1, its checkpoints, and the weights of the last one."""
    with open_lake(lake, read_only=True) as opened:
        (run,) = opened.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND seed = 1 AND status = 'complete'")
        metrics = opened.rows(
            "SELECT step, name, value FROM train_metrics WHERE run_id = $run_id AND name NOT LIKE 'speed/%' ORDER BY ALL", run
        )
        checkpoints = opened.rows(
            "SELECT step, validation_metric, validation_score, is_best, path FROM checkpoints WHERE run_id = $run_id ORDER BY step", run
        )
    weights = (lake / str(checkpoints[-1]["path"]) / "model.safetensors").read_bytes()
    return metrics, checkpoints, weights


@pytest.mark.drill
def test_a_training_killed_under_ray_ends_like_one_that_ran_through_without_it(demo: Demo, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for lake in (killed, whole):
        shutil.copytree(demo.lake, lake)
    (before,) = (demo.lake / "runs").glob("pretrain-*")

    def command(lake: Path, runner: str) -> list[str]:
        return ["pretrain", "--lake", str(lake), "--dataset", "phantom", "--recipe", "smoke", "--train.seed", "1", "--runner", runner]

    def there_is(pattern: str) -> bool:
        return any(run.name != before.name and any(run.glob(pattern)) for run in (killed / "runs").glob("pretrain-*"))

    assert kill_when(command(killed, "ray"), partial(there_is, "checkpoints/step_0000003"))
    succeed(*command(killed, "ray"))
    succeed(*command(whole, "serial"))
    assert trained(killed) == trained(whole)


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str, pages: list[Path]) -> list[str]:
    return [block.split("```")[0] for page in pages for block in page.read_text().split(f"```{language}\n")[1:]]


def statements(text: str) -> list[str]:
    return [sql for part in text.split(";") if (sql := re.sub(r"--.*", "", part).strip())]


READERS = [block for block in blocks("python", [ROOT / "README.md", ROOT / "docs/lake.md"]) if "CREATE SECRET" not in block]  # of a store


@pytest.mark.parametrize("block", READERS, ids=["webdataset", "duckdb"])
def test_the_readmes_readers_import_nothing_of_ours_and_work(block: str, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(demo.folder)
    forbid = "import sys\nfor name in ('flows', 'curation', 'pretrain', 'evaluation', 'warehouse'): sys.modules[name] = None\n"
    done = subprocess.run([sys.executable, "-c", forbid + block], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "frame_id" in block or "sampled" in done.stdout


def test_the_readmes_questions_are_answered(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    (questions,) = blocks("sql", [ROOT / "README.md"])
    asked = [line.split(";")[0] for line in questions.splitlines()]
    assert len(asked) == 6
    for statement in asked:
        assert "row" in said(capsys, "sql", "--lake", demo.lake, statement)


def test_every_question_of_the_documentation_is_answered(demo: Demo) -> None:
    asked = [statement for block in blocks("sql", PAGES) for statement in statements(block)]
    assert len(asked) >= 30
    with open_lake(demo.lake, read_only=True) as lake:
        for statement in asked:
            assert lake.ask(statement).column_names


def test_every_command_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"endoforge ([a-z][\w-]*)", text)) | set(re.findall(r"^\| `([\w-]+)`", text, re.MULTILINE))
    assert {"run", "demo", "ingest", "pretrain", "sql"} <= named <= set(COMMANDS)


def test_the_report_shows_the_lakes_own_numbers(demo: Demo) -> None:
    page = (demo.folder / "report.html").read_text()
    shown = json.loads(re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert {(row["task"], row["head"], row["metric"], row["model"]): row["value"] for row in shown["scores"]} == {
        (row["task"], row["head"], row["metric"], row["model"]): row["value"]
        for row in rows(demo, "FROM scores WHERE task IN ('grades', 'landmarks', 'polyps')")
    }
    kept = rows(demo, "SELECT num_frames FROM funnel WHERE step = 'kept'")[0]["num_frames"]
    assert [step["num_frames"] for step in shown["funnel"] if step["name"] == "kept"] == [kept]
    assert shown["funnel"][-1] == {"name": "in shards", "num_frames": 40}
    assert [step for step, _ in shown["training"]["score"]] == [0, 3, 6]
    assert shown["training"]["chosen_step"] == rows(demo, "SELECT step FROM checkpoints WHERE is_best")[0]["step"]


def test_doctor_finds_this_machine_in_order(demo: Demo) -> None:
    done = endoforge("doctor", "--lake", demo.lake)
    assert done.code == 0, done.out
    assert "1 pretrain complete" in done.out


@pytest.mark.drill
def test_the_recipe_of_the_demo_learns_more_than_to_guess(demo: Demo, tmp_path: Path) -> None:
    """A third of its steps, on forty images much alike: a student that guesses stays at ln K, as the recipe before this did to its end."""
    whole = recipe("demo")
    config = replace(
        whole,
        loss=replace(whole.loss, teacher_temperature_warmup_steps=50),
        optim=replace(whole.optim, warmup_steps=20),
        train=replace(whole.train, num_steps=130, batch_size=32),
    )
    pretrain(
        config,
        dataset_dir=demo.lake / "shards" / "phantom",
        run_dir=tmp_path / "run",
        run_id="learns",
        validate=None,
        backend="local",
        lake_root=tmp_path,
    )
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    cross_entropy = {
        part: [value for step, name, value in rows if name == f"loss/dino_{part}" and step > 90] for part in ("global", "local")
    }
    at_the_end = sum(statistics.mean(values) for values in cross_entropy.values())
    assert at_the_end < math.log(whole.dino_head.num_prototypes) - 0.08

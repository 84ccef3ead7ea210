"""What the page on deduplication says of two pictures."""

from pathlib import Path

import cv2
import numpy as np

from curation.phantom.patient import draw_patient
from curation.phantom.script import draw_script
from curation.phantom.video import render_frames
from flows.cli.cli import main


def test_images_of_a_folder_are_not_said_to_be_seconds_apart(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    patient = draw_patient(2, seed=3, size=128)
    for number, (picture, _) in enumerate(
        render_frames(patient, draw_script(patient.seed, num_frames=12, fps=4, procedure="colonoscopy"), fps=4)
    ):
        cv2.imwrite(str(folder / f"{number}.png"), np.ascontiguousarray(picture[..., ::-1]))
    lake = str(tmp_path / "lake")
    loose = ("--min-blur", "0", "--max-hash-distance", "0", "--max-out-of-body", "1", "--text", "off", "--settle-s", "0")
    for words in (
        ("ingest", str(folder), *loose),
        ("embed",),
        ("dedup", "--preview", "--thresholds", "0.5", "--out", str(tmp_path / "page.html")),
    ):
        assert main([words[0], "--lake", lake, "--runner", "serial", *words[1:]]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "same folder of images" in page
    assert "s apart" not in page.replace("bits apart", "")

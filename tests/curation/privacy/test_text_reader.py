from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from curation.privacy.text_boxes import Box
from curation.privacy.text_detector import TextCheckFailed
from curation.privacy.text_reader import characters_read, load_text_reader


def pink(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(0, 1, (9, 12)).astype(np.float32)
    waves = cv2.resize(coarse, (384, 288), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.stack([165 + 25 * waves, 90 + 18 * waves, 70 + 14 * waves], axis=2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("text", "fewest"), [("12", 1.8), ("MUELLER ANNA", 9.0), ("12/03/1958", 8.0)])
@pytest.mark.parametrize("step", [40, 150, -60])
def test_text_is_read_as_about_as_many_characters_as_it_has(text: str, fewest: float, step: int) -> None:
    opacity = cv2.putText(np.zeros((288, 384), np.uint8), text, (60, 80), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    picture = np.clip(pink(0) + step * (opacity[..., None] / 255), 0, 255).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(opacity)
    box = Box(x - 5, y - 5, width + 10, height + 10)
    assert fewest <= characters_read(picture, box, load_text_reader()) <= len(text) + 1


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_read_in_tissue(seed: int) -> None:
    picture = pink(seed)
    for box in (Box(50, 50, 40, 30), Box(200, 120, 90, 24), Box(300, 200, 20, 22)):
        assert characters_read(picture, box, load_text_reader()) < 1.2


class Answering:
    """A reader of four characters and the space that gives the same answer for every line: one (class, probability) a column."""

    def __init__(self, *columns: tuple[int, float]) -> None:
        self.answer = np.zeros((1, 2 * len(columns), 6), np.float32)
        for number, (kind, probability) in enumerate(columns):
            self.answer[0, 2 * number, kind] = probability
            self.answer[0, 2 * number + 1, 0] = 0.8  # blank

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="x")]

    def get_modelmeta(self) -> SimpleNamespace:
        return SimpleNamespace(custom_metadata_map={"character": 'A\n花\n:\n"'})

    def run(self, _: object, __: object) -> list[np.ndarray]:
        return [self.answer]


LETTER, OTHER_SCRIPT, COLON, QUOTE, SPACE = range(1, 6)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([(LETTER, 0.9), (OTHER_SCRIPT, 0.3), (SPACE, 0.95), (OTHER_SCRIPT, 0.5)], 1.4),
        ([(COLON, 0.9), (LETTER, 1.0)], 1.9),
        ([(QUOTE, 0.98), (LETTER, 0.4), (COLON, 0.6)], 0.8),
        ([(QUOTE, 0.98), (COLON, 0.9)], 0.0),
    ],
    ids=["spaces and doubtful ones", "a mark beside a letter", "more marks than letters", "marks alone"],
)
def test_what_counts_as_a_character(columns: list[tuple[int, float]], expected: float) -> None:
    assert characters_read(pink(0), Box(0, 0, 60, 20), Answering(*columns)) == pytest.approx(expected)


def test_a_reader_that_names_other_characters_than_it_reads_says_so() -> None:
    reader = Answering((LETTER, 0.9))
    reader.answer = reader.answer[:, :, :5]
    with pytest.raises(TextCheckFailed, match="tells 5 classes apart, and names 6"):
        characters_read(pink(0), Box(0, 0, 60, 20), reader)


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(383, 287, 1, 1), Box(0, 0, 384, 4), Box(10, 0, 4, 288)])
def test_a_box_of_any_shape_can_be_read(box: Box) -> None:
    assert 0 <= characters_read(pink(0), box, load_text_reader()) < 20


def test_a_reader_that_cannot_be_run_says_so() -> None:
    class Broken:
        def get_modelmeta(self) -> object:
            raise RuntimeError("no session")

    with pytest.raises(TextCheckFailed, match="failed on a line of 60x20"):
        characters_read(pink(0), Box(0, 0, 60, 20), Broken())

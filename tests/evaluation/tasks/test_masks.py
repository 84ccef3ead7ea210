"""Masks of every encoding are read as the same foreground, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from evaluation.images import mask_pixels
from evaluation.tasks import Item, TaskError, read_task

Mask = npt.NDArray[np.bool_]
NUMBER = 10


def truth(number: int) -> Mask:
    """A blob of its own place and size, away from two borders."""
    y, x = np.mgrid[:48, :64]
    found: Mask = (x - 20 - 2 * number) ** 2 + (y - 24) ** 2 < (6 + number) ** 2
    return found


def grey(value: int, kind: type[np.generic] = np.uint8) -> Callable[[Mask], Image.Image]:
    return lambda mask: Image.fromarray((mask * value).astype(kind))


def colour(inside: tuple[int, int, int], outside: tuple[int, int, int] = (0, 0, 0)) -> Callable[[Mask], Image.Image]:
    return lambda mask: Image.fromarray(np.where(mask[..., None], np.array(inside), np.array(outside)).astype(np.uint8))


def palette(inside: tuple[int, int, int]) -> Callable[[Mask], Image.Image]:
    def write(mask: Mask) -> Image.Image:
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putdata(mask.astype(np.uint8).ravel().tolist())
        image.putpalette([0, 0, 0, *inside])
        return image

    return write


def clear(inside: tuple[int, int, int, int], outside: tuple[int, int, int, int]) -> Callable[[Mask], Image.Image]:
    return lambda mask: Image.fromarray(np.where(mask[..., None], np.array(inside), np.array(outside)).astype(np.uint8))


ENCODINGS = {
    "0 and 255": (grey(255), "png", "values 0 and 255"),
    "0 and 1": (grey(1), "png", "values 0 and 1"),
    "0 and 2": (grey(2), "png", "values 0 and 2"),
    "0 and 127": (grey(127), "png", "values 0 and 127"),
    "16 bits, 0 and 1": (grey(1, np.uint16), "png", "values 0 and 1"),
    "16 bits, 0 and 65535": (grey(65535, np.uint16), "png", "values 0 and 65535"),
    "float": (grey(1, np.float32), "tif", "values 0 and 1"),
    "1 bit": (lambda mask: Image.fromarray(mask), "png", "values 0 and 255"),
    "VOC palette": (palette((128, 0, 0)), "png", "colour on black, values 0 and 128"),
    "white palette": (palette((255, 255, 255)), "png", "values 0 and 255"),
    "red": (colour((255, 0, 0)), "png", "colour on black, values 0 and 255"),
    "blue": (colour((0, 0, 255)), "png", "colour on black, values 0 and 255"),
    "green on white": (colour((0, 255, 0), (255, 255, 255)), "png", "colour on white, values 0 and 255"),
    "alpha of black": (clear((0, 0, 0, 255), (0, 0, 0, 0)), "png", "alpha channel, values 0 and 255"),
    "red on clear": (clear((255, 0, 0, 255), (255, 255, 255, 0)), "png", "colour on black, values 0 and 255"),
}


def write(root: Path, save: Callable[[int], Image.Image], suffix: str = "png", number: int = NUMBER) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for place in range(number):
        Image.fromarray(np.full((48, 64, 3), 20 * place, np.uint8)).save(root / "images" / f"{place}.png")
        save(place).save(root / "masks" / f"{place}.{suffix}")
    return root


def masks_of(root: Path) -> Iterator[tuple[Mask, Mask]]:
    """Each mask as it is read, and as it was written."""
    for item in read_task(root).items:
        yield mask_pixels(item), truth(int(Path(item.path).stem))


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_masks(tmp_path: Path, name: str) -> None:
    save, suffix, said = ENCODINGS[name]
    write(tmp_path, lambda place: save(truth(place)), suffix)
    for found, wanted in masks_of(tmp_path):
        np.testing.assert_array_equal(found, wanted)
    note = f"masks: {said}, of 10 {'TIFF' if suffix == 'tif' else 'PNG'} files"
    assert read_task(tmp_path).notes[0] == note


@pytest.mark.parametrize("inside", [(255, 255, 255), (255, 0, 0)])
def test_a_jpeg_mask_is_cut_between_its_ends(tmp_path: Path, inside: tuple[int, int, int]) -> None:
    write(tmp_path, lambda place: colour(inside)(truth(place)), "jpg")
    assert max(np.mean(found != wanted) for found, wanted in masks_of(tmp_path)) < 0.03
    assert "values 0 to 255 cut above 127.5, of 10 JPEG files" in read_task(tmp_path).notes[0]


def test_soft_edges_are_no_further_class(tmp_path: Path) -> None:
    write(tmp_path, lambda place: grey(255)(truth(place)).resize((32, 24), Image.Resampling.BILINEAR))
    task = read_task(tmp_path)
    assert any(note.startswith("masks: 10 are of another size than their image") for note in task.notes)
    for item in task.items:
        assert mask_pixels(item).shape == (24, 32)
        assert abs(mask_pixels(item).mean() - truth(int(Path(item.path).stem)).mean()) < 0.01


def test_an_empty_mask_among_others_is_empty(tmp_path: Path) -> None:
    write(tmp_path, lambda place: grey(1)(truth(place) & (place > 0)))
    assert sum(not found.any() for found, _ in masks_of(tmp_path)) == 1


def two_classes(place: int) -> Image.Image:
    values = truth(place).astype(np.uint8)
    values[:, : 20 + 2 * place] *= 2
    return Image.fromarray(values)


REFUSED = {
    "empty": (lambda place: grey(0)(truth(place)), "all 10 masks are empty"),
    "full": (lambda place: grey(255)(truth(place) | True), "all 10 masks are full: each pixel is 255"),
    "two encodings": (
        lambda place: grey(1 if place % 2 else 255)(truth(place)),
        "several encodings or classes: .* has 0, 255, and 5 of 10",
    ),
    "one other": (lambda place: grey(1 if place == 3 else 255)(truth(place)), r"and 1 of 10 such as .*3\.png' have 0, 1"),
    "128 and 255": (lambda place: grey(128 if place % 2 else 255)(truth(place)), "several encodings or classes"),
    "classes by file": (lambda place: grey(1 + place % 2)(truth(place)), "several encodings or classes"),
    "classes in a file": (two_classes, "more than two values: .* has 0, 1, 2"),
    "colours": (lambda place: colour((255, 0, 0) if place % 2 else (0, 255, 0))(truth(place)), "several colours"),
    "no zero": (lambda place: Image.fromarray(truth(place).astype(np.uint8) + 1), "from 1 to 2 and no 0"),
    "grey ground": (lambda place: colour((255, 0, 0), (0, 128, 128))(truth(place)), "neither a black nor a white background"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_masks_that_cannot_be_told_are_refused(tmp_path: Path, name: str) -> None:
    save, message = REFUSED[name]
    write(tmp_path, save)
    with pytest.raises(TaskError, match=message):
        read_task(tmp_path)


def test_masks_that_look_inverted_are_said(tmp_path: Path) -> None:
    write(tmp_path, lambda place: grey(255)(~truth(place)))
    (note,) = [note for note in read_task(tmp_path).notes if note.startswith("warning")]
    assert note.startswith("warning: masks may be inverted: 8")


def test_a_mask_whose_encoding_was_never_learned_is_not_read_as_empty(tmp_path: Path) -> None:
    write(tmp_path, lambda place: grey(1)(truth(place)), number=1)
    item = Item(path=str(tmp_path / "images/0.png"), mask=str(tmp_path / "masks/0.png"), split="test", group="")
    with pytest.raises(TaskError, match="has values up to 1, not 255; read the set with read_task"):
        mask_pixels(item)


def test_a_mask_of_the_unturned_picture_is_turned_with_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path, lambda place: grey(255)(truth(place)))
    for place in range(NUMBER):
        (tmp_path / "images" / f"{place}.png").unlink()
        Image.fromarray(np.full((48, 64, 3), 20 * place, np.uint8)).save(tmp_path / "images" / f"{place}.jpg", exif=exif)
    Image.fromarray(np.rot90(truth(0), -1)).save(tmp_path / "masks" / "0.png")  # one that is upright
    task = read_task(tmp_path)
    for item in task.items:
        np.testing.assert_array_equal(mask_pixels(item), np.rot90(truth(int(Path(item.path).stem)), -1))
    assert "EXIF orientation: 10 images are turned upright; 9 masks were drawn on the unturned picture and are turned too" in task.notes


@pytest.mark.real_data
def test_real_masks_are_the_same_in_every_encoding(real_data: Path, tmp_path: Path) -> None:
    names = [path.stem for path in sorted((real_data / "kvasir_seg" / "masks").iterdir())[:1000:50]]
    wanted = {}
    for name in names:
        with Image.open(real_data / "kvasir_seg" / "masks" / f"{name}.jpg") as file:
            wanted[name] = np.asarray(file.convert("L")) > 127
    for number, (save, suffix, _) in enumerate(ENCODINGS.values()):
        root = tmp_path / str(number)
        (root / "masks").mkdir(parents=True)
        (root / "images").mkdir()
        for name in names:
            (root / "images" / f"{name}.jpg").symlink_to(real_data / "kvasir_seg" / "images" / f"{name}.jpg")
            save(wanted[name]).save(root / "masks" / f"{name}.{suffix}")
        for item in read_task(root).items:
            np.testing.assert_array_equal(mask_pixels(item), wanted[Path(item.path).stem])

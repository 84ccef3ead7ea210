import numpy as np
import pytest

from curation.privacy.text_boxes import Box
from curation.privacy.text_evidence import Detection, Search, finds_new, proven, still_there, verdict_of
from curation.privacy.text_masks import TextMask, lasting_text, masks_by_sample

LINE = Box(50, 40, 60, 12)
PADDED = Box(47, 37, 66, 18)
READ, TWO, HALF_READ, ONE, UNREAD = 6.0, 2.0, 1.7, 0.9, 0.5
EMPTY = TextMask((), ())


def picture(luma: int) -> np.ndarray:
    return np.full((24, 32), luma, np.uint8)


def search(
    position: int | None, characters: float | None = None, box: Box = LINE, *, stood: bool | None = None, whole: bool = True
) -> Search:
    found = () if characters is None else (Detection(box=box, characters=characters, stood=stood),)
    return Search(position=position, thumbnail=picture(position or 0), detections=found, is_whole=whole)


@pytest.mark.parametrize(
    ("characters", "stood", "beside", "verdict"),
    [
        (READ, None, False, "confirmed"),
        (READ, False, False, "confirmed"),
        (HALF_READ, True, False, "confirmed"),
        (HALF_READ, None, False, "unconfirmed"),
        (HALF_READ, False, False, "refuted"),
        (TWO, None, False, "confirmed"),
        (TWO, False, False, "unconfirmed"),
        (ONE, True, False, "unconfirmed"),
        (ONE, None, False, "unconfirmed"),
        (ONE, False, False, "refuted"),
        (UNREAD, True, False, "unconfirmed"),
        (UNREAD, None, True, "unconfirmed"),
        (UNREAD, None, False, "unconfirmed"),
        (UNREAD, False, False, "refuted"),
    ],
)
def test_a_box_is_judged_by_what_is_read_and_whether_it_stood(characters: float, stood: bool | None, beside: bool, verdict: str) -> None:
    confirmed = [Box(50, 60, 80, 12)] if beside else [Box(200, 200, 80, 12)]
    assert verdict_of(Detection(box=LINE, characters=characters, stood=stood), confirmed) == verdict


@pytest.mark.parametrize(("characters", "stood"), [(ONE, None), (UNREAD, True), (UNREAD, None)])
def test_a_box_shorter_than_a_line_has_to_be_read(characters: float, stood: bool | None) -> None:
    assert verdict_of(Detection(box=Box(50, 40, 35, 12), characters=characters, stood=stood)) == "refuted"


def edges(text: int, tissue: int) -> np.ndarray:
    """Of a sample with a line of text and tissue below it, whose edges have one direction each; 0 for none."""
    found = np.zeros((100, 200), np.uint8)
    found[40:52, 50:110] = text
    found[70:90, 50:110] = tissue
    return found


@pytest.mark.parametrize(
    ("now", "stood"),
    [(edges(1, 0), True), (edges(2, 4), False), (edges(1, 1), None)],
    ids=["the tissue is gone", "all is gone", "all is there"],
)
def test_whether_strokes_stood_is_proven_once_the_camera_has_moved(now: np.ndarray, stood: bool | None) -> None:
    found = (Detection(box=LINE, characters=READ),)
    before = Search(position=0, thumbnail=picture(0), detections=found, edges=edges(1, 1))
    assert [each.stood for each in proven(before, now).detections] == [stood]


def test_text_that_stood_and_stands_is_still_there_unless_it_is_found_again() -> None:
    stood = Detection(box=LINE, characters=READ, stood=True)
    earlier = Search(position=0, thumbnail=picture(0), detections=(stood,), edges=edges(1, 1))
    assert still_there([earlier], [], edges(1, 0)) == [stood]
    assert still_there([earlier], [], edges(2, 0)) == []
    assert still_there([earlier], [Detection(box=Box(52, 40, 60, 12), characters=TWO)], edges(1, 0)) == []


def test_what_is_found_is_new_unless_it_is_refuted_or_was_found_before() -> None:
    assert finds_new(search(2, READ), [])
    assert not finds_new(search(2, READ), [search(0, UNREAD, Box(55, 42, 60, 12))])
    assert not finds_new(search(2, UNREAD, Box(50, 40, 20, 12)), [])


def test_confirmed_text_of_one_picture_is_hidden_up_to_the_looks_beside_it() -> None:
    masks = masks_by_sample([search(0), search(2), search(4, READ), search(6), search(8)], 10)
    hidden = TextMask((PADDED,), ())
    assert masks == [EMPTY] * 3 + [hidden] * 3 + [EMPTY] * 4


def test_confirmed_text_of_two_pictures_is_hidden_until_two_looks_have_missed_it() -> None:
    searches = [search(0), search(2), search(4), search(6, READ), search(8, UNREAD), search(10), search(12), search(14)]
    hidden = [bool(mask and mask.boxes) for mask in masks_by_sample(searches, 16)]
    assert hidden == [False] * 3 + [True] * 9 + [False] * 4


def test_a_mask_ends_though_the_text_comes_back_much_later() -> None:
    searches = [search(p, READ if p in (0, 2, 20, 22) else None) for p in range(0, 24, 2)]
    hidden = [bool(mask and mask.boxes) for mask in masks_by_sample(searches, 23)]
    assert hidden == [True] * 6 + [False] * 11 + [True] * 6


def test_a_part_that_is_searched_ends_no_mask() -> None:
    searches = [search(0, READ), search(1, whole=False), search(2, whole=False), search(3)]
    assert [bool(mask and mask.boxes) for mask in masks_by_sample(searches, 5)] == [True, True, True, False, False]


def test_unconfirmed_and_refuted_boxes_are_told_apart() -> None:
    masks = masks_by_sample([search(0), search(2, HALF_READ), search(4, UNREAD, stood=False), search(6)], 7)
    assert masks == [EMPTY, *[TextMask((PADDED,), (PADDED,))] * 3, EMPTY, EMPTY, EMPTY]


def test_a_box_at_the_place_of_confirmed_text_belongs_to_it_whatever_is_read() -> None:
    wider = Box(50, 40, 70, 12)
    masks = masks_by_sample([search(0, READ), search(2, UNREAD, wider), search(4)], 5)
    assert masks[2] == TextMask((Box(47, 37, 76, 18),), ())


def test_a_tall_box_around_a_line_that_was_read_and_one_that_was_not_stays_hidden() -> None:
    tall = Box(50, 30, 60, 45)
    both = Search(
        position=0, thumbnail=picture(0), detections=(Detection(box=LINE, characters=READ), Detection(box=tall, characters=UNREAD))
    )
    assert masks_by_sample([both], 1) == [TextMask((Box(47, 27, 66, 51), PADDED), (Box(47, 27, 66, 51),))]


def test_text_of_two_overview_pictures_is_hidden_throughout() -> None:
    def overview(luma: int) -> Search:
        return Search(position=None, detections=(Detection(box=LINE, characters=READ),), thumbnail=picture(luma))

    rest = [search(0), search(2), search(4), search(6)]
    assert [bool(mask and mask.boxes) for mask in masks_by_sample([overview(90), overview(99), *rest], 8)] == [True] * 8
    assert not any(mask and mask.boxes for mask in masks_by_sample([overview(90), overview(90), *rest], 8))
    assert not any(mask and mask.boxes for mask in masks_by_sample([overview(90), *rest], 8))


def test_the_same_picture_twice_proves_no_more_than_once() -> None:
    def seen(position: int | None, luma: int) -> Search:
        return Search(position=position, detections=(Detection(box=LINE, characters=READ),), thumbnail=picture(luma))

    assert lasting_text([seen(None, 90), seen(0, 90)]) == ()
    assert lasting_text([seen(None, 90), seen(0, 95)]) == (LINE,)


def test_samples_beside_a_failed_look_were_not_checked() -> None:
    searches = [search(None), search(0), Search(position=2, thumbnail=picture(2), failure="no numbers"), search(4)]
    assert masks_by_sample(searches, 6) == [EMPTY, None, None, None, EMPTY, EMPTY]
    assert masks_by_sample([search(None)], 2) == [None, None]

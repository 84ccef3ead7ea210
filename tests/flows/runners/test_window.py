"""What is begun when, and in which order it comes out; handles are the items themselves, and a list says what ends next."""

from dataclasses import dataclass, field
from typing import Any

from flows.runners.window import Again, Try, Window


@dataclass
class Machinery:
    """Ends items in the order that it is told, and notes what was begun."""

    ends: list[str]
    begun: list[str] = field(default_factory=list)

    def begin(self, item: str) -> str:
        self.begun.append(item)
        return item

    def ended(self, handles: list[str], timeout_s: float | None) -> list[str]:
        ready = next(item for item in self.ends if item in handles)
        self.ends.remove(ready)
        return [ready]


def as_it_is(tried: Try[str], handle: str) -> str:
    return handle.upper()


def window(machinery: Machinery, most: int, judge: Any = as_it_is) -> Window[str]:
    return Window(most=most, begin=machinery.begin, ended=machinery.ended, judge=judge)


def test_items_come_as_they_end_and_make_room_for_the_next() -> None:
    machinery = Machinery(ends=["b", "c", "d", "a"])
    outcomes = window(machinery, 2).outcomes("abcd", in_order=False)
    assert next(outcomes) == (1, "B")
    assert machinery.begun == ["a", "b"]
    assert next(outcomes) == (2, "C")
    assert machinery.begun == ["a", "b", "c"]
    assert list(outcomes) == [(3, "D"), (0, "A")]


def test_in_order_no_more_is_begun_than_may_wait_behind_the_first() -> None:
    machinery = Machinery(ends=["b", "c", "a", "d"])
    outcomes = window(machinery, 3).outcomes("abcd", in_order=True)
    assert next(outcomes) == (0, "A")
    assert machinery.begun == ["a", "b", "c"]
    assert list(outcomes) == [(1, "B"), (2, "C"), (3, "D")]


def test_an_item_that_rests_before_its_next_try_holds_up_nobody() -> None:
    machinery = Machinery(ends=["a", "b", "c", "a"])

    def judge(tried: Try[str], handle: str) -> Any:
        tried.num_lost += 1
        return Again(0.2) if handle == "a" and tried.num_lost == 1 else handle.upper()

    assert list(window(machinery, 2, judge).outcomes("abc", in_order=False)) == [(1, "B"), (2, "C"), (0, "A")]
    assert machinery.begun == ["a", "b", "c", "a"]
